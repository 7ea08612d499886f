#pragma once

#include "dca/positions/block_selection.hpp"

namespace dca {

/// The first keys and the most recent ones of a part's range, by whole blocks (Xiao et al. 2023, StreamingLLM). Costs
/// nothing to choose, and cannot find what stands between.
struct FirstAndRecent {
  Index first = 128;  // keys from the beginning; at least 0
  Index recent = -1;  // required: keys before the end of the range; at least 0
  Index block = 128;  // keys of a block, all of which are visited; at least 1

  void check() const {
    if (first < 0) detail::fail("FirstAndRecent first", detail::to_text(first), "must be at least 0");
    if (recent < 0) detail::fail("FirstAndRecent recent", detail::to_text(recent), "must be at least 0");
  }
  Index block_size() const { return block; }
  Index queries() const { return 4096; }  // all that see the same keys may share: the choice is the same

  void choose(const QueryBlock& query, BlockSet& set) const {
    set.add_keys({query.keys.first, std::min(first, query.keys.last - query.keys.first) + query.keys.first});
    set.add_keys({query.keys.last - std::min(recent, query.keys.last - query.keys.first), query.keys.last});
  }
};

}  // namespace dca
