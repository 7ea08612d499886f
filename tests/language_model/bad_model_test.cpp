// Right GGUF files that are not a model that dca_lm reads.
#include "error_of.hpp"
#include "open_model.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_test::contains;

namespace {

std::string refusal_of(const GgufContents& contents) {
  const TempFile file(contents.bytes());
  return error_of([&] { const OpenModel model(file.path()); });
}

/// Spoils a right model and checks the message.
template <class Spoil>
void check_refused(const std::string& message, const Spoil& spoil) {
  Random random(3);
  GgufContents model = make_tiny_model({}, random);
  spoil(model);
  CHECK_THAT(refusal_of(model), contains(message));
}

void check_value_refused(const std::string& message, const std::string& key, const Value& content) {
  check_refused(message, [&](GgufContents& model) { model.set(key, content); });
}

Value natural(std::uint32_t number) { return value(number); }

}  // namespace

TEST_CASE("the model that the others spoil is right") {
  Random random(3);
  CHECK(refusal_of(make_tiny_model({}, random)) == "no error");
}

TEST_CASE("another architecture is refused") {
  check_value_refused("architecture qwen2; only llama", "general.architecture", value("qwen2"));
  check_value_refused("general.architecture: wrong type", "general.architecture", natural(1));
}

TEST_CASE("another tokenizer is refused") {
  check_value_refused("tokenizer model llama; only gpt2", "tokenizer.ggml.model", value("llama"));
  check_value_refused("pre-tokenizer llama-bpe; smollm and gpt-2", "tokenizer.ggml.pre", value("llama-bpe"));
}

TEST_CASE("missing keys are refused by name") {
  for (const char* const key :
       {"general.architecture", "llama.block_count", "llama.embedding_length", "llama.feed_forward_length",
        "llama.context_length", "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    check_refused(std::string("the file has no ") + key, [&](GgufContents& model) { model.erase(key); });
  }
}

TEST_CASE("missing tensors are refused by name") {
  for (const char* const name :
       {"token_embd.weight", "output_norm.weight", "blk.0.attn_norm.weight", "blk.1.ffn_norm.weight",
        "blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.0.attn_v.weight", "blk.1.attn_output.weight",
        "blk.0.ffn_gate.weight", "blk.1.ffn_up.weight", "blk.0.ffn_down.weight"}) {
    check_refused(std::string("tensor ") + name + " is missing",
                  [&](GgufContents& model) { model.erase_tensor(name); });
  }
  check_value_refused("tensor blk.2.attn_norm.weight is missing", "llama.block_count", natural(3));
}

TEST_CASE("tensors of other shapes are refused, with both shapes") {
  const auto reshape = [](const std::string& name, const std::vector<std::uint64_t>& shape) {
    return [=](GgufContents& model) {
      Random random(4);
      model.tensor(name).data = random_tensor(f32_type, shape, 1.0, random);
    };
  };
  check_refused("tensor blk.0.attn_q.weight has shape 32 31; must be 32 32", reshape("blk.0.attn_q.weight", {32, 31}));
  check_refused("tensor blk.0.ffn_up.weight has shape 64 32; must be 32 64", reshape("blk.0.ffn_up.weight", {64, 32}));
  check_refused("tensor blk.1.attn_k.weight has shape 32 32; must be 32 16", reshape("blk.1.attn_k.weight", {32, 32}));
  check_refused("tensor output_norm.weight has shape 32 1; must be 32", reshape("output_norm.weight", {32, 1}));
  check_refused("tensor blk.0.attn_norm.weight has shape 33", reshape("blk.0.attn_norm.weight", {33}));
  // 265 tokens, or 264 after a change of the vocabulary.
  check_refused("tensor token_embd.weight has shape 32 265; must be 32 264", reshape("token_embd.weight", {32, 265}));
  check_refused("tensor output.weight has shape 32 10; must be 32 264", [](GgufContents& model) {
    Random random(5);
    model.tensors.push_back({"output.weight", random_tensor(f32_type, {32, 10}, 1.0, random)});
  });
}

TEST_CASE("heads that do not divide are refused") {
  check_value_refused("3 heads, 2 kv heads and width 32", "llama.attention.head_count", natural(3));
  check_value_refused("4 heads, 3 kv heads and width 32", "llama.attention.head_count_kv", natural(3));
  check_value_refused("4 heads, 8 kv heads and width 32", "llama.attention.head_count_kv", natural(8));
  check_value_refused("llama.attention.head_count: 0; must be from 1", "llama.attention.head_count", natural(0));
  check_value_refused("llama.attention.head_count_kv: 0", "llama.attention.head_count_kv", natural(0));
  check_value_refused("llama.attention.key_length is not embedding_length / head_count", "llama.attention.key_length",
                      natural(16));
  check_value_refused("llama.attention.value_length is not", "llama.attention.value_length", natural(4));
}

TEST_CASE("sizes out of range are refused") {
  check_value_refused("llama.block_count: 0", "llama.block_count", natural(0));
  check_value_refused("llama.block_count: 4294967295", "llama.block_count", natural(0xffffffffU));
  check_value_refused("llama.embedding_length: 18446744073709551615", "llama.embedding_length", value(UINT64_MAX));
  check_value_refused("llama.embedding_length: -32", "llama.embedding_length", value(std::int32_t{-32}));
  check_value_refused("llama.feed_forward_length: 0", "llama.feed_forward_length", natural(0));
  check_value_refused("llama.context_length: 7", "llama.context_length", natural(7));
}

TEST_CASE("rotary settings that cannot be are refused") {
  check_value_refused("llama.rope.dimension_count: 10; must be from 1 to 8", "llama.rope.dimension_count", natural(10));
  check_value_refused("llama.rope.dimension_count is odd", "llama.rope.dimension_count", natural(5));
  check_value_refused("llama.rope.freq_base must be greater than 1", "llama.rope.freq_base", value(1.0f));
  check_value_refused("llama.rope.freq_base: nan", "llama.rope.freq_base", value(std::stof("nan")));
  check_value_refused("llama.rope.scaling.type yarn is not supported", "llama.rope.scaling.type", value("yarn"));
  check_value_refused("layer_norm_rms_epsilon is negative", "llama.attention.layer_norm_rms_epsilon", value(-1e-5f));
  check_value_refused("layer_norm_rms_epsilon: wrong type", "llama.attention.layer_norm_rms_epsilon", natural(0));
  const auto with_divisors = [](const std::string& bytes) {
    return [=](GgufContents& model) { model.tensors.push_back({"rope_freqs.weight", {f32_type, {4}, bytes}}); };
  };
  const std::string ones = raw(1.0f) + raw(1.0f) + raw(1.0f);
  check_refused("rope_freqs.weight has a value that is not positive", with_divisors(ones + raw(0.0f)));
  check_refused("rope_freqs.weight has a value that is not positive", with_divisors(ones + raw(std::stof("nan"))));
}

TEST_CASE("a file may say that it has no scaling of its own") {
  check_value_refused("no error", "llama.rope.scaling.type", value("none"));
}
