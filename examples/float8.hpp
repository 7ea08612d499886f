// A storage of one's own: 8-bit floats, as FP8 caches elsewhere have them.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <dca/dca.hpp>
#include <limits>

/// Rows of 8-bit floats e4m3 (Micikevicius et al. 2022: 4 bits of exponent, 3 of mantissa, largest 448, no infinity), a
/// byte each, and beside each row a scale, which is one for each token and kv_head: the largest magnitude becomes 448.
/// Where a feature is not finite, the whole row is NaN.
struct Float8 {};

template <>
struct dca::RowStorage<Float8> {
  using Unit = std::uint8_t;
  static constexpr Index multiple = 1;
  static constexpr Index units(Index features) { return features; }

  using Side = float;  // the scale
  static constexpr Index side_tokens = 1;
  static constexpr Index sides(Index) { return 1; }

  template <class X>
  static void encode(const X* x, Index features, RowPlace<Float8> row) {
    float largest = 0;
    bool finite = true;
    for (Index d = 0; d < features; ++d) {
      const float size = std::abs(static_cast<float>(x[d]));
      finite = finite && std::isfinite(size);
      largest = std::max(largest, size);
    }
    const float scale = finite ? std::max(largest / 448, std::numeric_limits<float>::min()) : std::nanf("");
    for (Index d = 0; d < features; ++d) row.data[d] = finite ? code(static_cast<float>(x[d]) / scale) : Unit{0};
    *row.side = scale;
  }

  template <class X>
  static void decode(StoredRow<Float8> row, Index features, X* x) {
    for (Index d = 0; d < features; ++d) {
      x[d] = static_cast<X>(std::bit_cast<float>(bits(row.data[d])) * unit * *row.side);
    }
  }

  // With these rows are multiplied from where they lie.
  template <class T>
  requires std::same_as<T, float>
  static Packet<T> load(StoredRow<Float8> row, Index, Index d) {
    constexpr int size = sizeof(Packet<float>) / sizeof(float);
    std::uint32_t all[size];
    for (int k = 0; k < size; ++k) all[k] = bits(row.data[d + k]);
    Packet<float> x;
    std::memcpy(&x, all, sizeof x);
    return Eigen::internal::pmul(x, Eigen::internal::pset1<Packet<float>>(unit));
  }
  static float scale(StoredRow<Float8> row, Index) { return *row.side; }

 private:
  // e4m3 has an exponent bias of 7, float one of 127: read as a float's, its bits are 2^120 times too small.
  static constexpr float unit = 0x1p120f;
  static std::uint32_t bits(Unit code) { return (code & 0x80u) << 24 | (code & 0x7fu) << 20; }

  static Unit code(float x) {  // |x| <= 448
    const float size = std::abs(x);
    const int exponent = size > 0 ? std::max(std::ilogb(size), -6) : -6;
    const int eighths = static_cast<int>(std::nearbyint(std::ldexp(size, 3 - exponent)));  // of 2^exponent
    return static_cast<Unit>((x < 0 ? 0x80 : 0) | (8 * (exponent + 6) + eighths));
  }
};
