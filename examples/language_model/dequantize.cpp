#include "dequantize.hpp"

#include <Eigen/Core>

#include "byte_reader.hpp"

namespace dca_lm {
namespace {

float half_at(const std::byte* bytes) {
  std::uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(bits));
}

float bfloat16_at(const std::byte* bytes) {
  std::uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

float float_at(const std::byte* bytes) {
  float value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

void read_q8_0(const std::byte* block, float* out) {
  const float scale = half_at(block);
  for (int k = 0; k < 32; ++k) out[k] = scale * static_cast<float>(static_cast<std::int8_t>(block[2 + k]));
}

unsigned byte_at(const std::byte* bytes, int k) { return std::to_integer<unsigned>(bytes[k]); }

// 16 bytes of two 4-bit numbers each, and a fifth bit for each of the 32, as scale * q + offset.
void read_nibbles(const std::byte* bytes, std::uint32_t fifth_bits, float scale, float offset, float* out) {
  for (int k = 0; k < 16; ++k) {
    const unsigned pair = byte_at(bytes, k);
    const unsigned low = (pair & 15U) | (fifth_bits >> k & 1U) << 4;
    const unsigned high = pair >> 4 | (fifth_bits >> (k + 16) & 1U) << 4;
    out[k] = scale * static_cast<float>(low) + offset;
    out[k + 16] = scale * static_cast<float>(high) + offset;
  }
}

std::uint32_t bits_at(const std::byte* bytes) {
  std::uint32_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return bits;
}

void read_q4_0(const std::byte* block, float* out) {
  const float scale = half_at(block);
  read_nibbles(block + 2, 0, scale, -8 * scale, out);
}

void read_q4_1(const std::byte* block, float* out) {
  read_nibbles(block + 4, 0, half_at(block), half_at(block + 2), out);
}

void read_q5_0(const std::byte* block, float* out) {
  const float scale = half_at(block);
  read_nibbles(block + 6, bits_at(block + 2), scale, -16 * scale, out);
}

void read_q5_1(const std::byte* block, float* out) {
  read_nibbles(block + 8, bits_at(block + 4), half_at(block), half_at(block + 2), out);
}

struct ScaleAndMin {
  float scale, min;
};

// The 6-bit scale and min of part p of 8, from 12 bytes: of the first four parts in the low six bits of bytes 0 to 3
// and 4 to 7; of the others in the halves of bytes 8 to 11, with their upper two bits above those of the first four.
ScaleAndMin scale_and_min(const std::byte* packed, int p) {
  unsigned scale = byte_at(packed, p % 4), min = byte_at(packed, 4 + p % 4);
  if (p < 4) {
    scale &= 63U;
    min &= 63U;
  } else {
    const unsigned lower = byte_at(packed, 4 + p);
    scale = (lower & 15U) | scale >> 6 << 4;
    min = lower >> 4 | min >> 6 << 4;
  }
  return {static_cast<float>(scale), static_cast<float>(min)};
}

// Q4_K, and with 32 bytes of fifth bits Q5_K: `low` are the 128 bytes of lower bits.
void read_parts(const std::byte* block, const std::byte* fifth_bits, const std::byte* low, float* out) {
  const float d = half_at(block), d_min = half_at(block + 2);
  for (int p = 0; p < 8; ++p) {
    const auto [scale, min] = scale_and_min(block + 4, p);
    for (int k = 0; k < 32; ++k) {
      const unsigned fifth = fifth_bits == nullptr ? 0 : byte_at(fifth_bits, k) >> p & 1U;
      const unsigned q = (byte_at(low, p / 2 * 32 + k) >> p % 2 * 4 & 15U) | fifth << 4;
      out[p * 32 + k] = d * scale * static_cast<float>(q) - d_min * min;
    }
  }
}

void read_q4_k(const std::byte* block, float* out) { read_parts(block, nullptr, block + 16, out); }

void read_q5_k(const std::byte* block, float* out) { read_parts(block, block + 16, block + 48, out); }

void read_q6_k(const std::byte* block, float* out) {
  const std::byte *low = block, *upper = block + 128, *scales = block + 192;
  const float d = half_at(block + 208);
  for (int k = 0; k < 256; ++k) {
    const int half = k / 128, part = k % 128 / 32, at = k % 32;
    const unsigned four = byte_at(low, half * 64 + part % 2 * 32 + at) >> part / 2 * 4 & 15U;
    const unsigned two = byte_at(upper, half * 32 + at) >> part * 2 & 3U;
    const float scale = d * static_cast<float>(static_cast<std::int8_t>(scales[k / 16]));
    out[k] = scale * static_cast<float>(static_cast<int>(four | two << 4) - 32);
  }
}

}  // namespace

void dequantize_rows(const GgufTensor& tensor, std::uint64_t first_row, std::span<float> out) {
  const TensorTypeTraits type = traits(tensor.type);
  const std::uint64_t row_bytes = tensor.columns / type.block_size * type.block_bytes;
  const std::byte* from = tensor.bytes.data() + first_row * row_bytes;
  const auto each_block = [&](auto read) {
    float* const end = out.data() + out.size();
    for (float* to = out.data(); to != end; to += type.block_size, from += type.block_bytes) read(from, to);
  };
  switch (tensor.type) {
    case TensorType::f32:
      return each_block([](const std::byte* block, float* to) { *to = float_at(block); });
    case TensorType::f16:
      return each_block([](const std::byte* block, float* to) { *to = half_at(block); });
    case TensorType::bf16:
      return each_block([](const std::byte* block, float* to) { *to = bfloat16_at(block); });
    case TensorType::q8_0:
      return each_block(read_q8_0);
    case TensorType::q4_0:
      return each_block(read_q4_0);
    case TensorType::q4_1:
      return each_block(read_q4_1);
    case TensorType::q5_0:
      return each_block(read_q5_0);
    case TensorType::q5_1:
      return each_block(read_q5_1);
    case TensorType::q4_k:
      return each_block(read_q4_k);
    case TensorType::q5_k:
      return each_block(read_q5_k);
    case TensorType::q6_k:
      return each_block(read_q6_k);
  }
}

}  // namespace dca_lm
