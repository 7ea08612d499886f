// Where keys stand, apart from who looks at them: what a cache of rotated keys must know.
#pragma once

#include <type_traits>

#include "dca/positions/chunk_layout.hpp"

namespace dca {

/// Keys at their offset in their chunk: what all parts of Dual Chunk Attention share.
struct ChunkOffset {
  using Layout = ChunkLayout;
  static constexpr Index position(const ChunkLayout& chunks, Index j) { return j % chunks.chunk_len(); }
};

/// Keys at their absolute position: plain RoPE.
struct AbsolutePosition {
  using Layout = Unchunked;
  static constexpr Index position(const Unchunked&, Index j) { return j; }
};

/// Keys as they come out of the model, not rotated: any composition may place them, each time anew.
struct Unplaced {};

namespace detail {

template <class Part>
struct PlacementOf {
  using type = Unplaced;
};
template <class Part>
requires requires { typename Part::KeyPlacement; }
struct PlacementOf<Part> {
  using type = typename Part::KeyPlacement;
};

/// The KeyPlacement that all parts name; Unplaced where they differ or one names none.
template <class First, class... Rest>
using CommonPlacement =
    std::conditional_t<(std::is_same_v<typename PlacementOf<First>::type, typename PlacementOf<Rest>::type> && ...),
                       typename PlacementOf<First>::type, Unplaced>;

}  // namespace detail

}  // namespace dca
