// The tile loop: parts, and the tiles of keys that they see.
#pragma once

#include "dca/kernel/plan/composition.hpp"

namespace dca::detail {

/// Takes query rows through all parts, and for each through the tiles of keys within `limit` that they see.
/// `attention` says how the products are made: packed for many rows, streamed for few.
template <class Attention>
void visit_tiles(Attention& attention, const Composition& composition, KeyRange limit) {
  for (Index part = 0; part < composition.parts(); ++part) {
    const KeyRange seen = intersection(attention.begin_part(part, limit), limit);
    if (seen.empty()) continue;
    constexpr Index size = Attention::tile_keys;
    for (Index origin = seen.first - seen.first % size; origin < seen.last; origin += size) {
      attention.visit_tile(part, intersection(seen, {origin, origin + size}), origin);
    }
  }
}

}  // namespace dca::detail
