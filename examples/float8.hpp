// A storage of one's own: 8-bit floats, as FP8 caches elsewhere have them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <dca/dca.hpp>

/// Rows of 8-bit floats e4m3 (Micikevicius et al. 2022: 4 bits of exponent, 3 of mantissa, largest 448, no infinity)
/// with one scale a row, which is one for each token and kv_head: the largest magnitude becomes 448. A row is its
/// features, a byte each, then the scale as a float. Where a feature is not finite, the whole row is NaN.
struct Float8 {};

template <>
struct dca::RowStorage<Float8> {
  using Unit = std::byte;
  static constexpr Index multiple = 1;
  static constexpr Index units(Index features) { return features + static_cast<Index>(sizeof(float)); }

  template <class X>
  static void encode(const X* x, Index features, std::byte* row) {
    float largest = 0;
    bool finite = true;
    for (Index d = 0; d < features; ++d) {
      const float size = std::abs(static_cast<float>(x[d]));
      finite = finite && std::isfinite(size);
      largest = std::max(largest, size);
    }
    const float scale = finite ? std::max(largest / 448, std::numeric_limits<float>::min()) : std::nanf("");
    for (Index d = 0; d < features; ++d) {
      row[d] = finite ? code(static_cast<float>(x[d]) / scale) : std::byte{0};
    }
    std::memcpy(row + features, &scale, sizeof scale);
  }

  template <class X>
  static void decode(const std::byte* row, Index features, X* x) {
    float scale;
    std::memcpy(&scale, row + features, sizeof scale);
    for (Index d = 0; d < features; ++d) x[d] = static_cast<X>(number(row[d]) * scale);
  }

 private:
  static std::byte code(float x) {  // |x| <= 448
    const float size = std::abs(x);
    const int exponent = size > 0 ? std::max(std::ilogb(size), -6) : -6;
    const int eighths = static_cast<int>(std::nearbyint(std::ldexp(size, 3 - exponent)));  // of 2^exponent
    return static_cast<std::byte>((x < 0 ? 0x80 : 0) | (8 * (exponent + 6) + eighths));
  }

  static float number(std::byte code) {
    const int bits = std::to_integer<int>(code), exponent = bits >> 3 & 15, mantissa = bits & 7;
    const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                     : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
    return bits < 0x80 ? size : -size;
  }
};
