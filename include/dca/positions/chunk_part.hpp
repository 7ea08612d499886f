// A part of an attention: the keys that a query sees, and the rotary positions of query and keys.
#pragma once

#include <algorithm>
#include <concepts>

#include "dca/positions/key_placement.hpp"

namespace dca {

/// Absolute key positions [first, last), counted from 0; empty where first >= last.
struct KeyRange {
  Index first = 0;
  Index last = 0;

  constexpr bool empty() const { return first >= last; }
  friend constexpr bool operator==(const KeyRange&, const KeyRange&) = default;
};

/// A part of a composed attention: pure integers, no state. For the query and the key at absolute positions i and j
///
///   query_position(layout, i)   is the rotary position that the query takes in this part,
///   key_position(layout, j)     is the rotary position of the key,
///   keys(layout, i)             are the keys that the query sees through this part.
///
/// They are called from several threads at once, and should not throw: an exception reaches the caller, with outputs
/// partly written. The ranges of the parts of one composition must not overlap, and must lie within [0, i]: the kernel
/// does not check them. A part whose key_position is that of a KeyPlacing with the same Layout may name it as its type
/// KeyPlacement; it can then read caches of keys rotated that way.
template <class Part>
concept ChunkPart = std::copy_constructible<typename Part::Layout> && detail::ValidPlacement<Part> &&
    requires(const typename Part::Layout& layout, Index i) {
  { Part::query_position(layout, i) } -> std::same_as<Index>;
  { Part::key_position(layout, i) } -> std::same_as<Index>;
  { Part::keys(layout, i) } -> std::same_as<KeyRange>;
};

}  // namespace dca
