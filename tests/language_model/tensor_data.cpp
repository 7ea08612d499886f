#include "tensor_data.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace dca_lm_test {
namespace {

constexpr int half_exponent = 5, bfloat16_exponent = 8;

template <class T>
T at(const std::string& bytes, std::size_t offset) {
  T number;
  std::memcpy(&number, bytes.data() + offset, sizeof(T));
  return number;
}

double half_at(const std::string& bytes, std::size_t offset) {
  return small_float(at<std::uint16_t>(bytes, offset), half_exponent);
}

/// Element k, 0 to 31, of the 16 bytes from `offset`: the low halves first.
int nibble(const std::string& bytes, std::size_t offset, std::size_t k) {
  const auto byte = static_cast<unsigned char>(bytes[offset + k % 16]);
  return k < 16 ? byte & 15 : byte >> 4;
}

double element(const TensorData& tensor, std::size_t index) {
  const std::size_t block = index / 32, k = index % 32;
  switch (tensor.type) {
    case f32_type:
      return static_cast<double>(at<float>(tensor.bytes, 4 * index));
    case f16_type:
      return half_at(tensor.bytes, 2 * index);
    case bf16_type:
      return small_float(at<std::uint16_t>(tensor.bytes, 2 * index), bfloat16_exponent);
    case q8_0_type:
      return half_at(tensor.bytes, 34 * block) * at<std::int8_t>(tensor.bytes, 34 * block + 2 + k);
    case q4_0_type:
      return half_at(tensor.bytes, 18 * block) * (nibble(tensor.bytes, 18 * block + 2, k) - 8);
    case q4_1_type: {
      const double d = half_at(tensor.bytes, 20 * block), m = half_at(tensor.bytes, 20 * block + 2);
      return static_cast<double>(static_cast<float>(d * nibble(tensor.bytes, 20 * block + 4, k) + m));
    }
    default:
      throw std::invalid_argument("type " + std::to_string(tensor.type));
  }
}

/// 16 bits of a float of about `size`, with a random significand.
std::string random_small_float(double size, int exponent_bits, bool negative, Random& random) {
  const int significand_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = std::max(1, std::ilogb(size) + bias);
  const auto bits = static_cast<std::uint16_t>((negative ? 1 << 15 : 0) | exponent << significand_bits |
                                               static_cast<int>(random.integer(0, (1 << significand_bits) - 1)));
  return {reinterpret_cast<const char*>(&bits), sizeof(bits)};
}

std::string random_bytes(int count, Random& random) {
  std::string bytes;
  for (int k = 0; k < count; ++k) bytes += static_cast<char>(random.integer(0, 255));
  return bytes;
}

std::string random_half(double size, bool negative, Random& random) {
  return random_small_float(size, half_exponent, negative, random);
}

}  // namespace

double small_float(std::uint16_t bits, int exponent_bits) {
  const int significand_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits & 0x7fff) >> significand_bits, significand = bits & ((1 << significand_bits) - 1);
  const double sign = bits >> 15 != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return significand != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  }
  // Subnormal numbers have the smallest exponent and no leading one.
  const int leading = exponent == 0 ? 0 : 1 << significand_bits;
  return sign * std::ldexp(leading + significand, std::max(exponent, 1) - bias - significand_bits);
}

std::vector<double> decoded(const TensorData& tensor) {
  std::size_t count = 1;
  for (const std::uint64_t size : tensor.shape) count *= size;
  std::vector<double> elements;
  for (std::size_t k = 0; k < count; ++k) elements.push_back(element(tensor, k));
  return elements;
}

TensorData random_tensor(std::uint32_t type, std::vector<std::uint64_t> shape, double deviation, Random& random) {
  std::size_t count = 1;
  for (const std::uint64_t size : shape) count *= size;
  // Deviations of uniform whole numbers in [-128, 127] and [0, 15].
  constexpr double bytes_deviation = 74, nibbles_deviation = 4.6, nibbles_mean = 7.5;
  const std::size_t blocks = type == q4_0_type || type == q4_1_type || type == q8_0_type ? count / 32 : count;
  std::string bytes;
  for (std::size_t block = 0; block < blocks; ++block) {
    const bool negative = random.integer(0, 1) == 1;
    if (type == f32_type) {
      const float number = random.normal<float>(1, deviation)[0];
      bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
    } else if (type == f16_type) {
      bytes += random_half(deviation, negative, random);
    } else if (type == bf16_type) {
      bytes += random_small_float(deviation, bfloat16_exponent, negative, random);
    } else if (type == q8_0_type) {
      bytes += random_half(deviation / bytes_deviation, negative, random) + random_bytes(32, random);
    } else {
      const double scale = deviation / nibbles_deviation;
      bytes += random_half(scale, negative, random);
      if (type == q4_1_type) bytes += random_half(scale * nibbles_mean, !negative, random);
      bytes += random_bytes(16, random);
    }
  }
  return {type, std::move(shape), bytes};
}

}  // namespace dca_lm_test
