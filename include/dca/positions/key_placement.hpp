// Where keys stand, apart from who looks at them: what a cache of rotated keys must know.
#pragma once

#include <concepts>
#include <type_traits>

#include "dca/positions/chunk_layout.hpp"

namespace dca {

/// Where a cache puts keys: position(layout, j) is the rotary position of the key at absolute position j. A cache
/// copies the layout, and a call compares it with its own.
template <class Placement>
concept KeyPlacing = std::copyable<typename Placement::Layout> &&
    requires(const typename Placement::Layout& layout, Index j) {
  { Placement::position(layout, j) } -> std::same_as<Index>;
  { layout == layout } -> std::convertible_to<bool>;
};

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

template <class Part, class Placement>
concept PlacesBy = KeyPlacing<Placement> && std::same_as<typename Placement::Layout, typename Part::Layout>;

/// A part that names no placement, or one of its own layout.
template <class Part>
concept SaysPlacement =
    std::same_as<typename PlacementOf<Part>::type, Unplaced> || PlacesBy<Part, typename PlacementOf<Part>::type>;

/// The KeyPlacement that all parts name; Unplaced where they differ or one names none.
template <class First, class... Rest>
using CommonPlacement =
    std::conditional_t<(std::is_same_v<typename PlacementOf<First>::type, typename PlacementOf<Rest>::type> && ...),
                       typename PlacementOf<First>::type, Unplaced>;

}  // namespace detail

}  // namespace dca
