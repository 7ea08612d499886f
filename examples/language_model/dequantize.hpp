// From the storage types of GGUF to float.
#pragma once

#include <span>

#include "gguf.hpp"

namespace dca_lm {

/// Writes the elements of rows [first_row, first_row + rows) of `tensor` to `out`, row after row; out.size() is
/// rows * tensor.columns.
///
/// Blocks of 32 elements: Q8_0 is d * q with int8 q; Q4_0 is d * (q - 8) and Q4_1 d * q + m with 4-bit q, elements 0 to
/// 15 in the low halves of the 16 bytes and 16 to 31 in the high ones; d and m are halves.
void dequantize_rows(const GgufTensor& tensor, std::uint64_t first_row, std::span<float> out);

}  // namespace dca_lm
