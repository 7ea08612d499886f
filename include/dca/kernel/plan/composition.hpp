// The parts of a composition as values: what plans and tiles need to know of them.
#pragma once

#include <span>

#include "dca/kernel/plan/key_ranges.hpp"
#include "dca/positions/part_functions.hpp"

namespace dca::detail {

/// Some parts and their layout, by reference. Parts are counted from 0.
class Composition {
 public:
  Composition(const void* layout, std::span<const PartFunctions> parts) : layout_(layout), parts_(parts) {}

  Index parts() const { return static_cast<Index>(parts_.size()); }
  Index query_position(Index part, Index i) const { return functions(part).query_position(layout_, i); }
  Index key_position(Index part, Index j) const { return functions(part).key_position(layout_, j); }
  /// Keys from j on, at least 1, whose positions in a part follow one another.
  Index key_run(Index part, Index j) const {
    const PartFunctions& of = functions(part);
    return of.key_run == nullptr ? 1 : of.key_run(layout_, j);
  }
  /// The keys that the query at position i sees through a part.
  KeyRange keys(Index part, Index i) const {
    KeyRange range;
    keys(part, i, 1, &range);
    return range;
  }
  /// Those of the queries at positions [first, first + count), one after the other.
  void keys(Index part, Index first, Index count, KeyRange* to) const {
    functions(part).keys(layout_, first, count, to);
  }

 private:
  const PartFunctions& functions(Index part) const { return parts_[static_cast<std::size_t>(part)]; }

  const void* layout_;
  std::span<const PartFunctions> parts_;
};

/// Of any parts that share a layout, which must outlive it.
template <ChunkPart First, ChunkPart... Rest>
Composition composition_of(const typename First::Layout& layout) {
  return {&layout, functions_of_parts<First, Rest...>};
}

}  // namespace dca::detail
