// Rotary positions of keys that are the same for all queries: what a cache of rotated keys needs.
#pragma once

#include <concepts>
#include <limits>
#include <type_traits>

#include "dca/positions/chunk_layout.hpp"

namespace dca {

/// position(layout, j) is the rotary position to which a cache rotates the key at absolute position j. A cache copies
/// the layout, and a call compares the copy with its own layout. It may also have run(layout, j): so many keys from j
/// on, at least 1, are placed one position after the other; caches with a key offset are then read faster.
template <class Placement>
concept KeyPlacing = std::copyable<typename Placement::Layout> &&
    requires(const typename Placement::Layout& layout, Index j) {
  { Placement::position(layout, j) } -> std::same_as<Index>;
  { layout == layout } -> std::convertible_to<bool>;
};

/// Each key at its offset in its chunk: the same in all parts of Dual Chunk Attention.
struct ChunkOffset {
  using Layout = ChunkLayout;
  static constexpr Index position(const ChunkLayout& chunks, Index j) { return j % chunks.chunk_len(); }
  static constexpr Index run(const ChunkLayout& chunks, Index j) { return chunks.chunk_len() - j % chunks.chunk_len(); }
};

/// Keys at their absolute position: plain RoPE.
struct AbsolutePosition {
  using Layout = Unchunked;
  static constexpr Index position(const Unchunked&, Index j) { return j; }
  static constexpr Index run(const Unchunked&, Index j) { return std::numeric_limits<Index>::max() - j; }
};

/// Keys that are not rotated: each call rotates them, for any composition.
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

template <class Part, class Placement>
concept PlacesBy = KeyPlacing<Placement> && std::same_as<typename Placement::Layout, typename Part::Layout>;

/// Whether a part names no placement, or one with the part's own layout.
template <class Part>
concept ValidPlacement =
    std::same_as<typename PlacementOf<Part>::type, Unplaced> || PlacesBy<Part, typename PlacementOf<Part>::type>;

/// The KeyPlacement that all parts name; Unplaced where they differ or one names none.
template <class First, class... Rest>
using CommonPlacement =
    std::conditional_t<(std::is_same_v<typename PlacementOf<First>::type, typename PlacementOf<Rest>::type> && ...),
                       typename PlacementOf<First>::type, Unplaced>;

}  // namespace detail

}  // namespace dca
