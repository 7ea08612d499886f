// What a part of an attention is: where a query looks, as whom, and how the keys are placed.
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
/// They are called from several threads at once, and should not throw: the results of a call in which one does may hold
/// anything. The ranges of the parts of one composition must not overlap, and must lie within [0, i]: the kernel trusts
/// them. Parts that name a type KeyPlacement, a KeyPlacing of the same Layout, and place keys as it does, can be served
/// from a cache of keys so placed.
template <class Part>
concept ChunkPart = std::copy_constructible<typename Part::Layout> && detail::SaysPlacement<Part> &&
    requires(const typename Part::Layout& layout, Index i) {
  { Part::query_position(layout, i) } -> std::same_as<Index>;
  { Part::key_position(layout, i) } -> std::same_as<Index>;
  { Part::keys(layout, i) } -> std::same_as<KeyRange>;
};

}  // namespace dca
