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

double rounded(double number) { return static_cast<double>(static_cast<float>(number)); }

unsigned byte_at(const std::string& bytes, std::size_t offset) { return static_cast<unsigned char>(bytes[offset]); }

/// Bit `k` of the bytes from `offset`, counted from the lowest of the first.
int bit(const std::string& bytes, std::size_t offset, std::size_t k) {
  return static_cast<int>(byte_at(bytes, offset + k / 8) >> k % 8 & 1);
}

/// Element k of a block of Q4_K or Q5_K, of 256 elements, whose 12 bytes of scales are, with s0 to s7 the scales and m0
/// to m7 the minima of 6 bits each: 4 times (upper two bits of s4.., s0..), 4 times (upper two bits of m4.., m0..), 4
/// times (lower four bits of m4.., lower four bits of s4..).
double part_element(const std::string& bytes, std::size_t block, std::size_t k, bool fifth_bit) {
  const std::size_t part = k / 32, place = k % 32, scales = block + 4, column = part % 4;
  unsigned scale = byte_at(bytes, scales + column) % 64, min = byte_at(bytes, scales + 4 + column) % 64;
  if (part >= 4) {
    const unsigned both = byte_at(bytes, scales + 8 + column);
    scale = byte_at(bytes, scales + column) / 64 * 16 + both % 16;
    min = byte_at(bytes, scales + 4 + column) / 64 * 16 + both / 16;
  }
  const unsigned pair = byte_at(bytes, block + (fifth_bit ? 48 : 16) + 32 * (part / 2) + place);
  unsigned q = part % 2 == 0 ? pair % 16 : pair / 16;
  if (fifth_bit) q += 16 * static_cast<unsigned>(bit(bytes, block + 16 + place, part));
  return rounded(half_at(bytes, block) * scale * q - half_at(bytes, block + 2) * min);
}

/// Element k of a block of Q6_K: 128 bytes of lower and 64 of upper bits, 16 scales, d.
double q6_k_element(const std::string& bytes, std::size_t block, std::size_t k) {
  const std::size_t first_128 = k / 128, quarter = k / 32 % 4, place = k % 32;
  const unsigned pair = byte_at(bytes, block + 64 * first_128 + (quarter == 1 || quarter == 3 ? 32 : 0) + place);
  const unsigned low = quarter < 2 ? pair % 16 : pair / 16;
  const std::size_t upper = block + 128 + 32 * first_128 + place;
  const int q = static_cast<int>(low) + 16 * bit(bytes, upper, 2 * quarter) + 32 * bit(bytes, upper, 2 * quarter + 1);
  return half_at(bytes, block + 208) * at<std::int8_t>(bytes, block + 192 + k / 16) * (q - 32);
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
      return rounded(d * nibble(tensor.bytes, 20 * block + 4, k) + m);
    }
    case q5_0_type: {
      const int q = nibble(tensor.bytes, 22 * block + 6, k) + 16 * bit(tensor.bytes, 22 * block + 2, k);
      return half_at(tensor.bytes, 22 * block) * (q - 16);
    }
    case q5_1_type: {
      const int q = nibble(tensor.bytes, 24 * block + 8, k) + 16 * bit(tensor.bytes, 24 * block + 4, k);
      return rounded(half_at(tensor.bytes, 24 * block) * q + half_at(tensor.bytes, 24 * block + 2));
    }
    case q4_k_type:
      return part_element(tensor.bytes, index / 256 * 144, index % 256, false);
    case q5_k_type:
      return part_element(tensor.bytes, index / 256 * 176, index % 256, true);
    case q6_k_type:
      return q6_k_element(tensor.bytes, index / 256 * 210, index % 256);
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

/// Random bytes for one block of a type that has blocks.
std::string random_block(std::uint32_t type, double deviation, Random& random) {
  // Deviations of uniform whole numbers in [-128, 127], [0, 15] and [0, 31], and of their products with uniform scales
  // in [0, 63] or [-128, 127], with minima that come to about as much.
  constexpr double bytes_deviation = 74, nibbles_deviation = 4.6, nibbles_mean = 7.5, fives_deviation = 9.2,
                   fives_mean = 15.5, q4_k_deviation = 280, q5_k_deviation = 560, q6_k_deviation = 1370;
  const bool negative = random.integer(0, 1) == 1;
  const auto half = [&](double size, bool sign) { return random_half(size, sign, random); };
  const auto parts = [&](double scale, double mean, int bytes) {
    return half(scale, negative) + half(scale * mean, negative) + random_bytes(bytes, random);
  };
  switch (type) {
    case q8_0_type:
      return half(deviation / bytes_deviation, negative) + random_bytes(32, random);
    case q4_0_type:
      return half(deviation / nibbles_deviation, negative) + random_bytes(16, random);
    case q5_0_type:
      return half(deviation / fives_deviation, negative) + random_bytes(20, random);
    case q4_1_type:
      return half(deviation / nibbles_deviation, negative) +
             half(deviation / nibbles_deviation * nibbles_mean, !negative) + random_bytes(16, random);
    case q5_1_type:
      return half(deviation / fives_deviation, negative) + half(deviation / fives_deviation * fives_mean, !negative) +
             random_bytes(20, random);
    case q4_k_type:
      return parts(deviation / q4_k_deviation, nibbles_mean, 140);
    case q5_k_type:
      return parts(deviation / q5_k_deviation, fives_mean, 172);
    case q6_k_type: {
      const std::string elements = random_bytes(208, random);
      return elements + half(deviation / q6_k_deviation, negative);
    }
    default:
      throw std::invalid_argument("type " + std::to_string(type));
  }
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

std::uint64_t block_size(std::uint32_t type) {
  if (type == f32_type || type == f16_type || type == bf16_type) return 1;
  return type == q4_k_type || type == q5_k_type || type == q6_k_type ? 256 : 32;
}

TensorData random_tensor(std::uint32_t type, std::vector<std::uint64_t> shape, double deviation, Random& random) {
  std::size_t count = 1;
  for (const std::uint64_t size : shape) count *= size;
  std::string bytes;
  for (std::size_t block = 0; block < count / block_size(type); ++block) {
    if (type == f32_type) {
      const float number = random.normal<float>(1, deviation)[0];
      bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
    } else if (type == f16_type) {
      const bool negative = random.integer(0, 1) == 1;
      bytes += random_half(deviation, negative, random);
    } else if (type == bf16_type) {
      const bool negative = random.integer(0, 1) == 1;
      bytes += random_small_float(deviation, bfloat16_exponent, negative, random);
    } else {
      bytes += random_block(type, deviation, random);
    }
  }
  return {type, std::move(shape), bytes};
}

}  // namespace dca_lm_test
