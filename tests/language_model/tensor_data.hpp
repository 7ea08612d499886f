// The storage types of GGUF, by their definitions and independent of the reader's code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/random.hpp"

namespace dca_lm_test {

using dca_test::Random;

/// Type ids, as in the file.
constexpr std::uint32_t f32_type = 0, f16_type = 1, q4_0_type = 2, q4_1_type = 3, q5_0_type = 6, q5_1_type = 7,
                        q8_0_type = 8, q4_k_type = 12, q5_k_type = 13, q6_k_type = 14, bf16_type = 30;

/// The types in blocks of 256 come last: rows that are not a multiple of that can have the first eight.
constexpr std::uint32_t all_types[] = {f32_type,  f16_type,  q4_0_type, q4_1_type, q8_0_type, bf16_type,
                                       q5_0_type, q5_1_type, q4_k_type, q5_k_type, q6_k_type};
constexpr std::size_t small_block_types = 8;

struct TensorData {
  std::uint32_t type;
  std::vector<std::uint64_t> shape;  // innermost size first
  std::string bytes;
};

/// The number that 16 bits are: `exponent_bits` of exponent below the sign, the rest significand (IEEE 754).
double small_float(std::uint16_t bits, int exponent_bits);

/// Elements of a block of a type.
std::uint64_t block_size(std::uint32_t type);

/// All elements of a tensor. Those of the types with an offset or minimum need rounding to be floats: rounded once.
std::vector<double> decoded(const TensorData& tensor);

/// Random bytes that stand for finite elements of size about `deviation`. The innermost size is a multiple of the
/// type's block.
TensorData random_tensor(std::uint32_t type, std::vector<std::uint64_t> shape, double deviation, Random& random);

}  // namespace dca_lm_test
