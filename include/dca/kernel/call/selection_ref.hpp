// A policy that selects keys by reference, whatever its type.
#pragma once

#include <memory>
#include <span>

#include "dca/positions/block_selection.hpp"

namespace dca::detail {

/// A policy by reference, whatever its type: one of the functions that choose is null.
template <class T>
struct SelectionRef {
  const void* selection;
  Index block_size, queries;
  double optimism = 0;
  void (*check)(const void* selection) = nullptr;  // null where the policy has no such function
  void (*choose)(const void* selection, const QueryBlock&, BlockSet&) = nullptr;
  void (*choose_ranked)(const void* selection, const QueryBlock&, std::span<RankedBlock<T>>, BlockSet&) = nullptr;

  /// The policy must outlive it.
  template <class Selection>
  explicit SelectionRef(const Selection& policy)
      : selection(std::addressof(policy)), block_size(policy.block_size()), queries(policy.queries()) {
    if constexpr (requires { policy.check(); }) {
      check = [](const void* place) { static_cast<const Selection*>(place)->check(); };
    }
    if constexpr (RankSelection<Selection, T>) {
      optimism = policy.optimism();
      choose_ranked = [](const void* place, const QueryBlock& query, std::span<RankedBlock<T>> blocks, BlockSet& set) {
        static_cast<const Selection*>(place)->choose(query, blocks, set);
      };
    } else {
      choose = [](const void* place, const QueryBlock& query, BlockSet& set) {
        static_cast<const Selection*>(place)->choose(query, set);
      };
    }
  }
  bool ranks() const { return choose_ranked != nullptr; }
};

}  // namespace dca::detail
