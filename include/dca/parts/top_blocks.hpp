#pragma once

#include <algorithm>
#include <limits>

#include "dca/positions/block_selection.hpp"

namespace dca {

/// The blocks in which the queries may find the most, by estimates from block summaries (with the upper bounds of
/// Quest, Tang et al. 2024), the first and the last block of the range among them. See RankSelection for the estimate.
struct TopBlocks {
  Index keys = -1;              // required: how many a query visits, rounded up to whole blocks; at least 0
  Index block = 128;            // keys of a block; a cache must have been made with summaries of as many
  Index query_block = 128;      // neighbouring tokens that share a choice: fewer choose better, more cost less
  double trust_in_bound = 1.0;  // 1: blocks by the best key that they could hold; 0: by their mean key

  void check() const {
    if (keys < 0) detail::fail("TopBlocks keys", detail::to_text(keys), "must be at least 0");
  }
  Index block_size() const { return block; }
  Index queries() const { return query_block; }
  double optimism() const { return trust_in_bound; }

  template <class T>
  void choose(const QueryBlock&, std::span<RankedBlock<T>> blocks, BlockSet& set) const {
    const Index wanted = keys / block + (keys % block != 0 ? 1 : 0), found = static_cast<Index>(blocks.size());
    if (wanted >= found) {
      for (const RankedBlock<T>& candidate : blocks) set.add(candidate.block);
      return;
    }
    if (wanted > 1) {
      blocks.front().importance = std::numeric_limits<T>::infinity();
      // Where the summaries tie, the nearer block.
      std::nth_element(blocks.begin(), blocks.begin() + wanted, blocks.end(), [](const auto& a, const auto& b) {
        return a.importance != b.importance ? a.importance > b.importance : a.block > b.block;
      });
      for (const RankedBlock<T>& candidate : blocks.first(static_cast<std::size_t>(wanted))) set.add(candidate.block);
    } else if (wanted == 1) {
      set.add(blocks.back().block);
    }
  }
};

}  // namespace dca
