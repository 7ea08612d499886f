#include "tiny_model.hpp"

#include <cmath>

namespace dca_lm_test {
namespace {

// Ġ is the space.
const std::vector<std::pair<std::string, std::string>> english_merges = {
    {"t", "h"}, {"\xc4\xa0", "th"}, {"\xc4\xa0th", "e"}, {"i", "n"}, {"e", "r"}, {"1", "2"}, {"\xc4\xa0", "a"}};
constexpr const char* end_of_text = "<|endoftext|>";

void add_matrices(GgufContents& file, const TinySizes& sizes, Random& random) {
  std::size_t added = 0;
  const auto add = [&](const std::string& name, std::int64_t outputs, std::int64_t inputs, double deviation) {
    const std::size_t types = inputs % 256 == 0 ? std::size(all_types) : small_block_types;
    const std::uint32_t type = all_types[added++ % types];
    const auto columns = static_cast<std::uint64_t>(inputs), rows = static_cast<std::uint64_t>(outputs);
    file.tensors.push_back({name, random_tensor(type, {columns, rows}, deviation, random)});
  };
  // Keeps the size of a normalised state; the queries' and keys' more than that, so that attention is uneven.
  const double keep = 1 / std::sqrt(static_cast<double>(sizes.width)), sharpen = 1.3 * keep;
  const std::int64_t kv_width = sizes.kv_heads * sizes.head_dim();
  add("token_embd.weight", tiny_vocabulary(), sizes.width, 0.5);
  if (sizes.own_head) add("output.weight", tiny_vocabulary(), sizes.width, 0.5);
  for (std::int64_t k = 0; k < sizes.layers; ++k) {
    const std::string layer = "blk." + std::to_string(k) + ".";
    add(layer + "attn_q.weight", sizes.width, sizes.width, sharpen);
    add(layer + "attn_k.weight", kv_width, sizes.width, sharpen);
    add(layer + "attn_v.weight", kv_width, sizes.width, keep);
    add(layer + "attn_output.weight", sizes.width, sizes.width, keep);
    add(layer + "ffn_gate.weight", sizes.hidden, sizes.width, keep);
    add(layer + "ffn_up.weight", sizes.hidden, sizes.width, keep);
    add(layer + "ffn_down.weight", sizes.width, sizes.hidden, keep);
  }
}

void add_vector(GgufContents& file, const std::string& name, std::int64_t size, Random& random) {
  std::string bytes;
  for (const float x : random.normal<float>(size, 0.3)) bytes += raw(1 + std::abs(x));
  file.tensors.push_back({name, {f32_type, {static_cast<std::uint64_t>(size)}, bytes}});
}

}  // namespace

std::vector<std::string> printable_bytes() {
  std::vector<std::string> characters;
  int moved = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool stays = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    const int code = stays ? byte : 256 + moved++;
    if (code < 128) {
      characters.push_back({static_cast<char>(code)});
    } else {
      characters.push_back({static_cast<char>(192 + code / 64), static_cast<char>(128 + code % 64)});
    }
  }
  return characters;
}

void set_tokenizer(GgufContents& file, std::vector<std::string> tokens,
                   const std::vector<std::pair<std::string, std::string>>& merges, const std::string& pre) {
  std::vector<std::string> written;
  for (const auto& [left, right] : merges) {
    tokens.push_back(left + right);
    written.push_back(left + " " + right);
  }
  file.set("tokenizer.ggml.model", value("gpt2"));
  file.set("tokenizer.ggml.pre", value(pre));
  file.set("tokenizer.ggml.tokens", array(tokens));
  file.set("tokenizer.ggml.merges", array(written));
}

std::int64_t tiny_vocabulary() { return 256 + 1 + static_cast<std::int64_t>(english_merges.size()); }

GgufContents make_tiny_model(const TinySizes& sizes, Random& random) {
  const auto natural = [](std::int64_t number) { return value(static_cast<std::uint32_t>(number)); };
  GgufContents file;
  file.set("general.architecture", value("llama"));
  file.set("llama.block_count", natural(sizes.layers));
  file.set("llama.embedding_length", natural(sizes.width));
  file.set("llama.feed_forward_length", natural(sizes.hidden));
  file.set("llama.context_length", natural(sizes.trained_window));
  file.set("llama.attention.head_count", natural(sizes.heads));
  file.set("llama.attention.head_count_kv", natural(sizes.kv_heads));
  file.set("llama.attention.layer_norm_rms_epsilon", value(1e-2f));
  file.set("llama.rope.freq_base", value(static_cast<float>(sizes.theta)));
  file.set("llama.rope.dimension_count", natural(sizes.rotary_dim));
  std::vector<std::string> tokens = printable_bytes();
  tokens.push_back(end_of_text);
  set_tokenizer(file, tokens, english_merges);

  add_matrices(file, sizes, random);
  add_vector(file, "output_norm.weight", sizes.width, random);
  for (std::int64_t k = 0; k < sizes.layers; ++k) {
    add_vector(file, "blk." + std::to_string(k) + ".attn_norm.weight", sizes.width, random);
    add_vector(file, "blk." + std::to_string(k) + ".ffn_norm.weight", sizes.width, random);
  }
  if (sizes.frequency_divisors) add_vector(file, "rope_freqs.weight", sizes.rotary_dim / 2, random);
  return file;
}

}  // namespace dca_lm_test
