// Parts of one's own for the compiled operator.
#pragma once

#include <algorithm>
#include <iterator>

#include "dca/compiled/config.hpp"
#include "dca/positions/block_selection.hpp"

namespace dca::compiled {

/// The parts of a composition with their layout, which must outlive operators and caches. A part has the
/// `run` of its KeyPlacement as its key_run.
template <ChunkPart First, ChunkPart... Rest>
OwnParts own_parts(const typename First::Layout& layout) {
  static_assert((std::is_same_v<typename First::Layout, typename Rest::Layout> && ...), "parts must share one layout");
  constexpr bool selectable[] = {SelectablePart<First>, SelectablePart<Rest>...};
  const auto count = std::count(std::begin(selectable), std::end(selectable), true);
  const auto first = std::find(std::begin(selectable), std::end(selectable), true) - std::begin(selectable);
  return {detail::functions_of_parts<First, Rest...>, &layout,
          !std::is_same_v<detail::CommonPlacement<First, Rest...>, Unplaced>, count == 1 ? Index{first} : Index{-1}};
}

}  // namespace dca::compiled
