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

// 16 bytes of two 4-bit numbers each, as scale * q + offset.
void read_nibbles(const std::byte* bytes, float scale, float offset, float* out) {
  for (int k = 0; k < 16; ++k) {
    const auto pair = std::to_integer<unsigned>(bytes[k]);
    out[k] = scale * static_cast<float>(pair & 15U) + offset;
    out[k + 16] = scale * static_cast<float>(pair >> 4U) + offset;
  }
}

void read_q4_0(const std::byte* block, float* out) {
  const float scale = half_at(block);
  read_nibbles(block + 2, scale, -8 * scale, out);
}

void read_q4_1(const std::byte* block, float* out) { read_nibbles(block + 4, half_at(block), half_at(block + 2), out); }

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
  }
}

}  // namespace dca_lm
