// A tiny model with heads of 32, as int4 caches need them, opened, with tokens to read.
#pragma once

#include "open_model_parts.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

namespace dca_lm_test {

constexpr const char* kv_types[] = {"float", "half", "bfloat16", "int8", "int4"};

struct WideModel {
  explicit WideModel(std::uint64_t stream)
      : random(stream), contents(make_tiny_model(sizes(), random)), file(contents.bytes()), model(file.path(), 2) {}

  static TinySizes sizes() { return {.width = 128, .heads = 4, .kv_heads = 2, .hidden = 64, .rotary_dim = 32}; }

  std::vector<Token> tokens(std::ptrdiff_t count) {
    std::vector<Token> tokens;
    for (std::ptrdiff_t k = 0; k < count; ++k) {
      tokens.push_back(static_cast<Token>(random.integer(0, static_cast<std::ptrdiff_t>(tiny_vocabulary()) - 1)));
    }
    return tokens;
  }

  Random random;
  GgufContents contents;
  TempFile file;
  OpenModel model;
};

}  // namespace dca_lm_test
