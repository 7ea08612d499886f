// Rows of small integers with scales.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "dca/kv/storage.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca {

/// Rows of 8-bit integers, symmetric, with one scale per row: x = scale * q, q in [-127, 127]. A row is its features,
/// a byte each, and its side the scale. An element is off by at most half a scale, the largest magnitude / 254.
struct Int8 {};

/// Rows of 4-bit integers, symmetric, with one scale per group of 32 features: x = scale * q, q in [-7, 7]. A row is,
/// per group, 16 bytes (feature d in the low half of byte d, feature 16 + d in its high half, each as q + 8), and its
/// side the scales. The features must be a multiple of 32. An element is off by at most its group's largest magnitude /
/// 14.
struct Int4 {
  static constexpr Index group = 32;
};

namespace detail {

/// The scale at which values up to `largest` become integers up to `most`, and the factor for the way there. NaN and
/// infinities go into the scale, and so into every feature that it covers.
struct QuantScale {
  float scale;
  float inverse;

  QuantScale(float largest, float most) : scale(largest / most), inverse(scale > 0 ? 1 / scale : 0) {
    if (!std::isfinite(inverse)) inverse = 0;  // a scale too small to invert stands for zeros
  }
  int operator()(float x, float most) const {
    const float scaled = std::isfinite(x) ? std::clamp(x * inverse, -most, most) : 0.0f;
    return static_cast<int>(scaled < 0 ? scaled - 0.5f : scaled + 0.5f);
  }
};

template <class X>
float largest_magnitude(const X* x, Index count) {
  float largest = 0;
  for (Index d = 0; d < count; ++d) {
    const float magnitude = std::abs(static_cast<float>(x[d]));
    if (std::isnan(magnitude)) return magnitude;
    largest = std::max(largest, magnitude);
  }
  return largest;
}

}  // namespace detail

template <>
struct RowStorage<Int8> {
  using Unit = std::byte;
  static constexpr Index multiple = 1;
  using Side = float;
  static constexpr Index side_tokens = 1;
  static constexpr Index units(Index features) { return features; }
  static constexpr Index sides(Index) { return 1; }

  template <class X>
  static void encode(const X* x, Index features, RowPlace<Int8> row) {
    constexpr float most = 127;
    const detail::QuantScale quantise(detail::largest_magnitude(x, features), most);
    for (Index d = 0; d < features; ++d) row.data[d] = static_cast<std::byte>(quantise(static_cast<float>(x[d]), most));
    *row.side = quantise.scale;
  }
  template <class X>
  static void decode(StoredRow<Int8> row, Index features, X* x) {
    const float factor = scale(row, features);
    for (Index d = 0; d < features; ++d) {
      x[d] = static_cast<X>(factor * static_cast<float>(static_cast<std::int8_t>(row.data[d])));
    }
  }
  static float scale(StoredRow<Int8> row, Index) { return *row.side; }
#if DCA_WIDENS
  template <class T>
  requires std::is_same_v<T, float>
  static EIGEN_ALWAYS_INLINE Packet<T> load(StoredRow<Int8> row, Index, Index d) {
    return detail::Widen::int8(row.data + d);
  }
#endif
};

template <>
struct RowStorage<Int4> {
  using Unit = std::byte;
  using Side = float;
  static constexpr Index side_tokens = 1;
  static constexpr Index multiple = Int4::group;
  static constexpr Index group_bytes = Int4::group / 2;

  static constexpr Index units(Index features) { return features / Int4::group * group_bytes; }
  static constexpr Index sides(Index features) { return features / Int4::group; }

  template <class X>
  static void encode(const X* x, Index features, RowPlace<Int4> row) {
    constexpr float most = 7;
    for (Index group = 0; group < features / Int4::group; ++group) {
      const X* const from = x + group * Int4::group;
      const detail::QuantScale quantise(detail::largest_magnitude(from, Int4::group), most);
      for (Index d = 0; d < group_bytes; ++d) {
        const int low = quantise(static_cast<float>(from[d]), most) + 8;
        const int high = quantise(static_cast<float>(from[d + group_bytes]), most) + 8;
        row.data[group * group_bytes + d] = static_cast<std::byte>(low | high << 4);
      }
      row.side[group] = quantise.scale;
    }
  }
  template <class X>
  static void decode(StoredRow<Int4> row, Index features, X* x) {
    for (Index group = 0; group < features / Int4::group; ++group) {
      const float factor = row.side[group];
      X* const to = x + group * Int4::group;
      std::byte pairs[group_bytes];  // of its own: bytes of a row could be what is written, for all a compiler knows
      std::memcpy(pairs, row.data + group * group_bytes, sizeof(pairs));
      for (Index d = 0; d < group_bytes; ++d) {
        const int pair = std::to_integer<int>(pairs[d]);
        to[d] = static_cast<X>(factor * static_cast<float>((pair & 15) - 8));
        to[d + group_bytes] = static_cast<X>(factor * static_cast<float>((pair >> 4) - 8));
      }
    }
  }
#if DCA_WIDENS
  template <class T>
  requires(std::is_same_v<T, float>&& group_bytes % detail::packet_size<float> == 0)  // within the half of a group
      static EIGEN_ALWAYS_INLINE Packet<T> load(StoredRow<Int4> row, Index, Index d) {
    const Index group = d / Int4::group, within = d & (Int4::group - 1);  // `&` says that d is not negative
    return detail::Widen::nibbles(row.data + group * group_bytes + within % group_bytes, within < group_bytes ? 0 : 4,
                                  row.side[group]);
  }
#endif
};

}  // namespace dca

#include "dca/packet/code_end.hpp"
