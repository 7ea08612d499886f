// The storage types of GGUF, by their definitions and independent of the reader's code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/random.hpp"

namespace dca_lm_test {

using dca_test::Random;

/// Type ids, as in the file.
constexpr std::uint32_t f32_type = 0, f16_type = 1, q4_0_type = 2, q4_1_type = 3, q8_0_type = 8, bf16_type = 30;
constexpr std::uint32_t all_types[] = {f32_type, f16_type, q4_0_type, q4_1_type, q8_0_type, bf16_type};

struct TensorData {
  std::uint32_t type;
  std::vector<std::uint64_t> shape;  // innermost size first
  std::string bytes;
};

/// The number that 16 bits are: `exponent_bits` of exponent below the sign, the rest significand (IEEE 754).
double small_float(std::uint16_t bits, int exponent_bits);

/// All elements of a tensor. Q4_1 is the one type whose elements need rounding to be floats: rounded once.
std::vector<double> decoded(const TensorData& tensor);

/// Random bytes that stand for finite elements of size about `deviation`. The innermost size is a multiple of 32 where
/// the type has blocks.
TensorData random_tensor(std::uint32_t type, std::vector<std::uint64_t> shape, double deviation, Random& random);

}  // namespace dca_lm_test
