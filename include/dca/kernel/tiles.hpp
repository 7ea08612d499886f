// The tile loop itself: parts, and the tiles of keys that they see.
#pragma once

#include <type_traits>

#include "dca/positions/chunk_part.hpp"

namespace dca::detail {

/// Keys of a tile of packed products. Tiles start at multiples of their size, wherever a block or a part starts, so that
/// the sums of a query row do not depend on how rows were grouped.
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

/// The tile loop: takes a block of queries through all parts, and for each through the tiles of keys within `limit`
/// that its rows see. The block says how the products are made: packed for many rows, streamed for few.
template <ChunkPart... Parts, class Block>
void visit_tiles(Block& block, KeyRange limit) {
  const auto visit_part = [&]<class Part>(std::type_identity<Part>) {
    const KeyRange seen = intersection(block.template begin_part<Part>(limit), limit);
    if (seen.empty()) return;
    constexpr Index size = Block::tile_keys;
    for (Index origin = seen.first - seen.first % size; origin < seen.last; origin += size) {
      block.template visit_tile<Part>(intersection(seen, {origin, origin + size}), origin);
    }
  };
  (visit_part(std::type_identity<Parts>{}), ...);
}

}  // namespace dca::detail
