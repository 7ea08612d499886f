// The part that cuts nothing: plain causal attention.
#pragma once

#include "dca/positions/chunk_part.hpp"
#include "dca/positions/key_placement.hpp"

namespace dca {

/// Every key up to and including the query's own position, nothing remapped: plain causal RoPE attention.
struct WholeSequence {
  using Layout = Unchunked;
  using KeyPlacement = AbsolutePosition;

  static constexpr Index query_position(const Unchunked&, Index i) { return i; }
  static constexpr Index key_position(const Unchunked& layout, Index j) { return KeyPlacement::position(layout, j); }
  static constexpr KeyRange keys(const Unchunked&, Index i) { return {0, i + 1}; }
};

}  // namespace dca
