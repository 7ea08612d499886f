// Parsing of the two tables at the head of a GGUF file.
#pragma once

#include "byte_reader.hpp"
#include "gguf.hpp"

namespace dca_lm {

struct GgufTables {
  std::unordered_map<std::string_view, GgufValue> values;
  std::unordered_map<std::string_view, GgufTensor> tensors;
};

/// Reads and checks the head of a GGUF file of which `bytes` are all. Views point into `bytes`. Throws Error.
GgufTables read_gguf_tables(std::span<const std::byte> bytes);

}  // namespace dca_lm
