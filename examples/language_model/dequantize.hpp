// From the storage types of GGUF to float.
#pragma once

#include <span>

#include "gguf.hpp"

namespace dca_lm {

/// Writes the elements of rows [first_row, first_row + rows) of `tensor` to `out`, row after row; out.size() is
/// rows * tensor.columns.
///
/// Blocks of 32 elements: Q8_0 is d * q with int8 q; Q4_0 is d * (q - 8) and Q4_1 d * q + m with 4-bit q, elements 0 to
/// 15 in the low halves of the 16 bytes and 16 to 31 in the high ones; Q5_0 is d * (q - 16) and Q5_1 d * q + m, with
/// the fifth bit of element k in bit k of 4 bytes before those 16. d and m are halves.
///
/// Blocks of 256 in 8 parts of 32: Q4_K and Q5_K are d * scale * q - dmin * min with a 6-bit scale and min for each
/// part. Two parts share 32 bytes, the even one in the low halves; the fifth bit of element k of part p is bit p of
/// byte k of 32 others. Q6_K is d * scale * (q - 32) with an int8 scale for each 16 elements; of each 128, elements 0
/// to 63 are in the low halves of 64 bytes and the others in the high ones, and byte k of 32 others has, two bits each,
/// the upper bits of elements k, k + 32, k + 64 and k + 96.
void dequantize_rows(const GgufTensor& tensor, std::uint64_t first_row, std::span<float> out);

}  // namespace dca_lm
