// The tile loop: parts, and the tiles of keys that they see.
#pragma once

#include "dca/kernel/plan/composition.hpp"

namespace dca::detail {

/// Takes a block of queries through all parts, and for each through the tiles of keys within `limit` that its rows see.
/// The block says how the products are made: packed for many rows, streamed for few.
template <class Block>
void visit_tiles(Block& block, const Composition& composition, KeyRange limit) {
  for (Index part = 0; part < composition.parts(); ++part) {
    const KeyRange seen = intersection(block.begin_part(part, limit), limit);
    if (seen.empty()) continue;
    constexpr Index size = Block::tile_keys;
    for (Index origin = seen.first - seen.first % size; origin < seen.last; origin += size) {
      block.visit_tile(part, intersection(seen, {origin, origin + size}), origin);
    }
  }
}

}  // namespace dca::detail
