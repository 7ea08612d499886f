// Keys and tensors of a model's file: followed, without meaning for the results, or refused.
#include "error_of.hpp"
#include "open_model.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_lm::Token;
using dca_test::contains;

namespace {

using KeyValues = std::vector<std::pair<std::string, Value>>;

GgufContents tiny_model() {
  Random random(70);
  return make_tiny_model({}, random);
}

std::string refusal_of(const GgufContents& contents) {
  const TempFile file(contents.bytes());
  return error_of([&] { const OpenModel model(file.path()); });
}

std::string refusal_of(const std::string& key, const Value& content) {
  GgufContents model = tiny_model();
  model.set(key, content);
  return refusal_of(model);
}

Value natural(std::uint32_t number) { return value(number); }

/// What the converter of llama.cpp, its quantizer and others write that says nothing about results.
KeyValues harmless_keys() {
  const std::string key = "tokenizer.ggml.";
  KeyValues keys = {{"general.type", value("model")},
                    {"general.name", value("Smollm2 135M")},
                    {"general.basename", value("smollm2")},
                    {"general.size_label", value("135M")},
                    {"general.license", value("apache-2.0")},
                    {"general.base_model.count", natural(1)},
                    {"general.base_model.0.repo_url", value("https://example.org")},
                    {"general.languages", array<std::string>({"en"})},
                    {"general.tags", array<std::string>({"text-generation"})},
                    {"general.sampling.temp", value(0.6f)},
                    {"general.file_type", natural(3)},
                    {"general.quantization_version", natural(2)},
                    {"general.something_new", value("x")},
                    {"quantize.imatrix.file", value("imatrix.dat")},
                    {"quantize.imatrix.entries_count", value(std::int32_t{224})},
                    {"split.no", value(std::uint16_t{0})},
                    {"split.count", value(std::uint16_t{0})},
                    {"split.tensors.count", value(std::int32_t{0})},
                    {"mradermacher.quantized_by", value("mradermacher")},
                    {"llama.vocab_size", natural(264)},
                    {"llama.attention.key_length", natural(8)},
                    {"llama.attention.value_length", natural(8)},
                    {"llama.rope.scaling.type", value("none")},
                    {"llama.rope.scaling.original_context_length", natural(64)},
                    {"llama.rope.scaling.finetuned", value(true)},
                    {"llama.tensor_data_layout", value("Meta AI original pth")},
                    {"tokenizer.chat_template", value("{{ bos_token }}{% for message in messages %}")},
                    {"tokenizer.chat_template.tool_use", value("{% for message in messages %}")},
                    {"tokenizer.chat_templates", array<std::string>({"tool_use"})},
                    {"tokenizer.huggingface.json", value("{}")},
                    {key + "token_type", array(std::vector<std::int32_t>(264, 1))},
                    {key + "scores", array(std::vector<float>(264, -1.0f))},
                    {key + "add_bos_token", value(false)},
                    {key + "add_eos_token", value(false)},
                    {key + "add_space_prefix", value(false)},
                    {key + "remove_extra_whitespaces", value(false)}};
  for (const char* id : {"bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "cls", "mask", "fim_pre",
                         "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep", "prefix", "suffix", "middle"}) {
    keys.emplace_back(key + id + "_token_id", natural(256));
  }
  return keys;
}

}  // namespace

TEST_CASE("keys that real files have beside the model's numbers change nothing") {
  GgufContents model = tiny_model();
  const TempFile plain(model.bytes());
  for (const auto& [key, content] : harmless_keys()) {
    INFO(key);
    CHECK(refusal_of(key, content) == "no error");
    model.set(key, content);
  }
  const TempFile full(model.bytes());
  const std::vector<Token> tokens = {5, 80, 120, 3, 7, 9};
  CHECK(OpenModel(full.path()).log_probabilities({}, tokens) == OpenModel(plain.path()).log_probabilities({}, tokens));
  CHECK(OpenModel(full.path()).tokenizer().encode_text("the 12") ==
        OpenModel(plain.path()).tokenizer().encode("the 12"));
}

TEST_CASE("keys that change results are refused unless they say what the program does anyway") {
  struct Case {
    std::string key;
    std::vector<Value> right;
    Value wrong;
    std::string message;
  };
  const std::string tokenizer = "tokenizer.ggml.";
  const std::vector<Case> cases = {
      {"general.type", {value("model")}, value("adapter"), ": adapter; must be model"},
      {"general.quantization_version", {natural(2)}, natural(1), ": 1; must be 2"},
      {"llama.rope.scale_linear", {value(1.0f), value(0.0f)}, value(4.0f), ": 4; must be 0 or 1"},
      {"llama.rope.scaling.factor", {value(1.0f), value(0.0f)}, value(4.0f), ": 4; must be 0 or 1"},
      {"llama.rope.scaling.attn_factor", {value(1.0f)}, value(0.5f), ": 0.5; must be 1"},
      {"llama.expert_count", {natural(0), value(std::int32_t{0})}, natural(8), ": 8; must be 0"},
      {"llama.expert_used_count", {natural(0)}, natural(2), ": 2; must be 0"},
      {"llama.logit_scale", {value(1.0f), value(0.0f)}, value(0.25f), ": 0.25; must be 0 or 1"},
      {"llama.residual_scale", {value(1.0f)}, value(0.5f), ": 0.5; must be 0 or 1"},
      {"llama.embedding_scale", {value(1.0f)}, value(12.0f), ": 12; must be 0 or 1"},
      {"llama.attention.scale", {value(0.0f)}, value(0.125f), ": 0.125; must be 0"},
      {"llama.attention.causal", {value(true)}, value(false), ": false; must be true or 1"},
      {"llama.attention.sliding_window", {natural(0)}, natural(4096), ": 4096; must be 0"},
      {"llama.attention.clamp_kqv", {value(0.0f)}, value(8.0f), ": 8; must be 0"},
      {"llama.attention.max_alibi_bias", {value(0.0f)}, value(8.0f), ": 8; must be 0"},
      {"llama.attn_logit_softcapping", {value(0.0f)}, value(50.0f), ": 50; must be 0"},
      {"llama.final_logit_softcapping", {value(0.0f)}, value(30.0f), ": 30; must be 0"},
      {"llama.use_parallel_residual", {value(false)}, value(true), ": true; must be false or 0"},
      {"llama.hidden_activation", {value("silu")}, value("gelu"), ": gelu; must be silu"},
      {"llama.tensor_data_layout", {value("Meta AI original pth")}, value("reference"), ": reference; must be Meta AI"},
      {tokenizer + "add_eos_token", {value(false), value(std::uint8_t{0})}, value(true), ": true; must be false or 0"},
      {tokenizer + "add_space_prefix", {value(false)}, value(true), ": true; must be false or 0"},
      {tokenizer + "remove_extra_whitespaces", {value(false)}, value(true), ": true; must be false or 0"},
      {tokenizer + "normalizer.lowercase", {value(false)}, value(true), ": true; must be false or 0"}};
  for (const Case& one : cases) {
    INFO(one.key);
    for (const Value& right : one.right) CHECK(refusal_of(one.key, right) == "no error");
    CHECK_THAT(refusal_of(one.key, one.wrong), contains(one.key + one.message));
    CHECK_THAT(refusal_of(one.key, array<std::string>({"x"})), contains(one.key + ": an array of 1; must be"));
  }
}

TEST_CASE("keys of the architecture and the tokenizer that are not known are refused with their value") {
  CHECK_THAT(refusal_of("llama.attention.key_length_mla", natural(8)),
             contains("llama.attention.key_length_mla: 8; not supported; it may change results"));
  CHECK_THAT(refusal_of("llama.rope.dimension_sections", array<std::int32_t>({1, 1})),
             contains("llama.rope.dimension_sections: an array of 2; not supported; it may change results"));
  CHECK_THAT(refusal_of("tokenizer.ggml.precompiled_charsmap", array<std::uint8_t>({1})),
             contains("tokenizer.ggml.precompiled_charsmap"));
  CHECK_THAT(refusal_of("adapter.type", value("lora")),
             contains("adapter.type: lora; not supported; it may change results"));
  // Of several always the same, whatever their order in the file.
  GgufContents model = tiny_model();
  for (const char* key : {"llama.z", "llama.b", "tokenizer.a", "llama.y"}) model.set(key, natural(1));
  CHECK_THAT(refusal_of(model), contains("llama.b: 1; not supported; it may change results"));
}

TEST_CASE("tensors that the model has no use for are refused by name") {
  const auto with_tensor = [](const std::string& name) {
    Random random(71);
    GgufContents model = tiny_model();
    model.tensors.push_back({name, random_tensor(f32_type, {32}, 1.0, random)});
    return refusal_of(model);
  };
  for (const std::string name :
       {"blk.0.attn_q.bias", "blk.1.attn_output.bias", "blk.0.attn_q_norm.weight", "blk.0.ffn_gate.1.weight",
        "blk.0.ffn_gate_inp.weight", "blk.1.ffn_up_exps.weight", "blk.1.ffn_down.bias", "blk.2.attn_norm.weight",
        "blk.01.attn_norm.weight", "blk.-1.attn_norm.weight", "blk..attn_norm.weight", "blk.0.attn_norm.weight.weight",
        "output.bias", "token_embd_norm.weight", "position_embd.weight", "rope_factors_long.weight", "x", ""}) {
    INFO(name);
    CHECK_THAT(with_tensor(name),
               contains("tensor " + name + "; unknown tensor for a Llama model of 2 layers; it may change results"));
  }
}

TEST_CASE("a piece of a model in several files is called one, by its name") {
  GgufContents model = tiny_model();
  model.set("split.count", value(std::uint16_t{5}));
  const TempFile piece(model.bytes());
  CHECK_THAT(error_of([&] { const dca_lm::GgufFile file(piece.path()); }),
             contains(piece.path() + ": split.count: 5; must be 0 or 1: the file is one of 5"));
  model.set("split.no", value(std::uint16_t{1}));
  CHECK_THAT(refusal_of(model), contains("the file is piece 2 of 5"));
  // The other pieces have neither a tokenizer nor the model's numbers.
  std::erase_if(model.values, [](const auto& entry) { return !entry.first.starts_with("split."); });
  CHECK_THAT(refusal_of(model), contains("the file is piece 2 of 5"));
  model = tiny_model();
  model.set("split.count", value(std::uint16_t{1}));
  CHECK(refusal_of(model) == "no error");
}

TEST_CASE("all tokens that end a text are followed, and none that the vocabulary lacks") {
  GgufContents model = tiny_model();
  const auto ends = [&] {
    const TempFile file(model.bytes());
    return dca_lm::Tokenizer(dca_lm::GgufFile(file.path())).ends();
  };
  CHECK(ends().empty());
  model.set("tokenizer.ggml.eos_token_id", natural(2));
  model.set("tokenizer.ggml.eot_token_id", value(std::int32_t{5}));
  model.set("tokenizer.ggml.eom_token_id", value(std::uint64_t{6}));
  model.set("tokenizer.ggml.eos_token_ids", array<std::int32_t>({2, 9}));
  CHECK(ends() == std::vector<Token>{2, 5, 6, 2, 9});
  model.set("tokenizer.ggml.eos_token_ids", array<std::int64_t>({-1, 263, 264, INT64_MIN, 1LL << 32, 0}));
  CHECK(ends() == std::vector<Token>{2, 5, 6, 263, 0});
  model.erase("tokenizer.ggml.eos_token_ids");
  const std::vector<Value> none = {value(std::int32_t{-1}), value(std::int64_t{INT64_MIN}), value(std::uint32_t{264}),
                                   value(0xffffffffU), value("none")};
  for (const Value& content : none) {
    model.set("tokenizer.ggml.eot_token_id", content);
    CHECK(ends() == std::vector<Token>{2, 6});
  }
  for (const char* key : {"eos", "eot", "eom"}) {
    model.set("tokenizer.ggml." + std::string(key) + "_token_id", value(std::int32_t{-1}));
  }
  CHECK(ends().empty());
}
