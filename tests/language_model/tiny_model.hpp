// Complete Llama models of a few thousand random weights.
#pragma once

#include "gguf_writer.hpp"

namespace dca_lm_test {

struct TinySizes {
  std::int64_t layers = 2, width = 32, heads = 4, kv_heads = 2, hidden = 64;
  std::int64_t rotary_dim = 8;  // at most width / heads
  std::int64_t trained_window = 64;
  double theta = 10000.0;
  bool own_head = false;            // output.weight beside token_embd.weight
  bool frequency_divisors = false;  // rope_freqs.weight

  std::int64_t head_dim() const { return width / heads; }
};

/// The 256 printable characters that stand for the bytes in GPT-2's vocabulary, in UTF-8 and by byte.
std::vector<std::string> printable_bytes();

/// Tokens and merges of a byte-level BPE tokenizer; `merges` as pairs of tokens, each making a new one.
void set_tokenizer(GgufContents& file, std::vector<std::string> tokens,
                   const std::vector<std::pair<std::string, std::string>>& merges, const std::string& pre = "smollm");

/// The bytes, the tokens of a few English merges and an end-of-text token. Matrices take the
/// storage types in turn, those in blocks of 256 where their rows are multiples of that.
GgufContents make_tiny_model(const TinySizes& sizes, Random& random);

/// How many tokens the vocabulary of a tiny model has.
std::int64_t tiny_vocabulary();

}  // namespace dca_lm_test
