// The layout and rotary embedding with which keys of a cache were rotated.
#pragma once

#include "dca/positions/key_placement.hpp"
#include "dca/rope/rotary_embedding.hpp"

namespace dca {

/// The layout and rotary embedding with which keys of a cache are rotated; empty for unplaced keys.
template <class Placement>
struct PlacedKeys {
  typename Placement::Layout chunks = {};
  RotaryEmbedding rope;

  Index position(Index j) const { return Placement::position(chunks, j); }
};
template <>
struct PlacedKeys<Unplaced> {};

namespace detail {

/// PlacedKeys with the placement's type erased; no rope where keys are unplaced. The PlacedKeys must outlive it.
struct PlacementRef {
  const RotaryEmbedding* rope = nullptr;
  const void* layout = nullptr;
  Index (*position)(const void* layout, Index j) = nullptr;
};

template <class Placement>
PlacementRef placement_ref(const PlacedKeys<Placement>& placed) {
  if constexpr (std::is_same_v<Placement, Unplaced>) {
    return {};
  } else {
    return {&placed.rope, &placed.chunks, [](const void* layout, Index j) {
              return Placement::position(*static_cast<const typename Placement::Layout*>(layout), j);
            }};
  }
}

/// Throws std::invalid_argument unless keys were placed with the layout `chunks` and the frequencies and pairing of
/// `rope`, which are those of `owner`. Attention factors may differ: they are not applied to keys.
template <class Placement>
void check_placed(const char* argument, const PlacedKeys<Placement>& placed, const typename Placement::Layout& chunks,
                  const RotaryEmbedding& rope, const char* owner) {
  if (!(placed.chunks == chunks)) {
    fail(argument, "made for another chunk layout", Text("must be that of ") + owner);
  }
  if (placed.rope.inv_freq() != rope.inv_freq() || placed.rope.pairing() != rope.pairing()) {
    fail(argument, "made for another rotary embedding",
         Text("inverse frequencies and pairing must be those of ") + owner);
  }
}

}  // namespace detail
}  // namespace dca
