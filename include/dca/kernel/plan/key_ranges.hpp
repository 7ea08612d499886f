// Ranges of keys, and the tiles that they are cut into.
#pragma once

#include <algorithm>

#include "dca/positions/chunk_part.hpp"

namespace dca::detail {

/// Keys of a tile of packed products. Tiles start at multiples of their size, wherever a block or a part starts, so
/// that the sums of a query row do not depend on how rows were grouped.
inline constexpr Index key_tile = 128;

constexpr KeyRange intersection(KeyRange a, KeyRange b) {
  return {std::max(a.first, b.first), std::min(a.last, b.last)};
}

/// The shortest range that covers both; empty ranges count for nothing.
constexpr KeyRange hull(KeyRange a, KeyRange b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return {std::min(a.first, b.first), std::max(a.last, b.last)};
}

}  // namespace dca::detail
