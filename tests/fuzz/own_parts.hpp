// A composition that is not the library's: near keys one by one and far ones in groups, all positions moved.
#pragma once

#include <dca/dca.hpp>

#include "fuzz/bytes.hpp"
#include "support/reference.hpp"

namespace dca_fuzz {

using dca::Index;

/// Keys count as far once `window` others stand between, `step` at a time; `group` far ones share a position. All
/// positions are moved by `shift`, which changes no result.
struct OwnLayout {
  Index window, group, step, shift;

  constexpr Index first_near(Index i) const {
    const Index far = i - window + 1;
    return far > 0 ? far / step * step : 0;
  }
  friend constexpr bool operator==(const OwnLayout&, const OwnLayout&) = default;
};

struct FarKeys {
  using Layout = OwnLayout;
  static constexpr bool selectable = true;

  static constexpr Index query_position(const Layout& s, Index i) { return i / s.group + s.window + s.shift; }
  static constexpr Index key_position(const Layout& s, Index j) { return j / s.group + s.shift; }
  static constexpr dca::KeyRange keys(const Layout& s, Index i) { return {0, s.first_near(i)}; }
};

struct NearKeys {
  using Layout = OwnLayout;

  static constexpr Index query_position(const Layout& s, Index i) { return i + s.shift; }
  static constexpr Index key_position(const Layout& s, Index j) { return j + s.shift; }
  static constexpr dca::KeyRange keys(const Layout& s, Index i) { return {s.first_near(i), i + 1}; }
};

inline OwnLayout own_layout(Bytes& bytes) {
  const Index window = bytes.pick<Index>({1, 2, 30, 128, 500}) + bytes.integer(0, 3);
  const Index group = bytes.pick<Index>({1, 2, 4, 50}), step = bytes.pick<Index>({1, 2, 16, 100, 129, 1024});
  const Index shift = bytes.pick<Index>({0, 0, 1, -1, -15, -16, -17, -4096, 4095, Index{1} << 31, -(Index{1} << 31)});
  return {window, group, step, shift};
}

/// The same as a definition, written anew.
inline dca_test::reference::PositionMatrix own_positions(const OwnLayout& s) {
  return [s](std::int64_t i, std::int64_t j) -> std::optional<dca_test::reference::Positions> {
    if (j > i) return std::nullopt;
    const std::int64_t far = i < s.window ? 0 : (i - s.window + 1) - (i - s.window + 1) % s.step;
    if (j < far) return dca_test::reference::Positions{i / s.group + s.window + s.shift, j / s.group + s.shift};
    return dca_test::reference::Positions{i + s.shift, j + s.shift};
  };
}

template <class T>
using OwnAttention = dca::ComposedAttention<T, FarKeys, NearKeys>;

}  // namespace dca_fuzz
