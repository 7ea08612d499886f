// What the queries of a call have chosen to visit, by sequence, block of queries and kv_head.
#pragma once

#include <algorithm>
#include <limits>

#include "dca/device/scratch.hpp"
#include "dca/kernel/plan/composition.hpp"
#include "dca/kernel/plan/query_tokens.hpp"
#include "dca/positions/block_selection.hpp"

namespace dca::detail {

/// What queries [first, last) of a sequence chose together, a set for each kv_head. `keys` is what any of them sees.
struct Choice {
  Index sequence;
  KeyRange queries;
  KeyRange keys;
  Index first_word;  // of the first kv_head's set
  Index words;       // of a set
};

/// Sets of key blocks that queries visit of one part's keys, one for each choice and kv_head. Neighbouring queries
/// share a choice, up to multiples of `queries` tokens and to where the keys that they see through the part change; all
/// of a sequence share one where products are streamed. By default there is no such part: every query visits all keys
/// that it sees.
///
/// Made in two steps, as CallPlan is: count, then fill.
class BlockChoices {
 public:
  BlockChoices() = default;
  BlockChoices(Index part, Index block_size, Index queries) : part_(part), block_size_(block_size), queries_(queries) {}

  /// Whether queries choose among the keys of a part.
  bool selects(Index part) const { return part == part_; }
  bool selects() const { return part_ >= 0; }

  /// `group` heads a kv_head.
  void count(const Composition& composition, Index sequences, Index kv_heads, Index group, QueryTokensOf tokens_of) {
    sequences_ = sequences;
    kv_heads_ = kv_heads;
    heads_in_group_ = group;
    for (Index s = 0; s < sequences; ++s) {
      constexpr Index none = std::numeric_limits<Index>::min() / 2;
      Index edge = none, edge_before = none;
      for_each_choice(composition, tokens_of(s), [&](KeyRange queries, KeyRange keys) {
        ++choice_count_;
        most_blocks_ = std::max(most_blocks_, ceil_div(keys.last, block_size_));
        words_ = checked_sum("key", words_, checked_product("key", BlockSet::words(keys.last, block_size_), kv_heads));
        edges_apart_ = std::min(edges_apart_, queries.first - edge_before);
        edge_before = edge;
        edge = queries.first;
      });
    }
  }

  /// Takes its tables from `arena`; of an arena without memory, only the amount.
  void take_tables(Arena& arena) {
    first_choice_ = arena.take<Index>(sequences_ + 1);
    entries_ = arena.take<Choice>(choice_count_);
    sets_ = arena.take<std::uint64_t>(words_);
  }

  void fill(const Composition& composition, QueryTokensOf tokens_of) {
    Index count = 0, word = 0;
    for (Index s = 0; s < sequences_; ++s) {
      first_choice_[s] = count;
      for_each_choice(composition, tokens_of(s), [&](KeyRange queries, KeyRange keys) {
        const Index words = BlockSet::words(keys.last, block_size_);
        entries_[count++] = {s, queries, keys, word, words};
        word += words * kv_heads_;
      });
    }
    first_choice_[sequences_] = count;
    std::fill_n(sets_, words_, std::uint64_t{0});
  }

  Index choice_count() const { return choice_count_; }
  const Choice& choice(Index c) const { return entries_[c]; }
  /// Blocks below the last key that any query sees.
  Index most_blocks() const { return most_blocks_; }

  BlockSet set(const Choice& choice, Index kv_head) const { return set(choice, kv_head, choice.keys); }
  /// As far as `keys` go.
  BlockSet set(const Choice& choice, Index kv_head, KeyRange keys) const {
    return {sets_ + choice.first_word + kv_head * choice.words, block_size_, keys};
  }

  /// The choice of the query at `position`.
  const Choice& choice_of(Index sequence, Index position) const {
    const Choice* const first = entries_ + first_choice_[sequence];
    const Choice* const last = entries_ + first_choice_[sequence + 1];
    return *(std::upper_bound(first, last, position,
                              [](Index p, const Choice& choice) { return p < choice.queries.first; }) -
             1);
  }

  /// The position after those that share a choice with the query at `position`.
  Index edge_after(Index sequence, Index position) const {
    return selects() ? choice_of(sequence, position).queries.last : std::numeric_limits<Index>::max();
  }

  /// Most choices that `count` neighbouring tokens belong to, or more.
  Index most_edges(Index count) const { return selects() ? 2 * (count / edges_apart_ + 1) : 0; }

 private:
  /// Calls f(queries, keys) for the choices of a sequence.
  template <class F>
  void for_each_choice(const Composition& composition, const QueryTokens& tokens, F&& f) const {
    const auto keys_of = [&](Index position) { return composition.keys(part_, position); };
    const bool together = is_streamed(tokens.count * heads_in_group_);
    const Index end = tokens.position + tokens.count;
    for (Index first = tokens.position; first < end;) {
      const KeyRange keys = keys_of(first);
      if (together) return f(KeyRange{first, end}, hull(keys, keys_of(end - 1)));
      Index last = std::min(end, first + queries_ - first % queries_);
      if (keys_of(last - 1) != keys) {
        // Keys change at few places and never back: the first place is found by bisection.
        Index alike = first;
        for (--last; last - alike > 1;) {
          const Index middle = alike + (last - alike) / 2;
          (keys_of(middle) == keys ? alike : last) = middle;
        }
      }
      f(KeyRange{first, last}, keys);
      first = last;
    }
  }

  Index part_ = -1;
  Index block_size_ = 1, queries_ = 1;
  Index heads_in_group_ = 1, sequences_ = 0, kv_heads_ = 0, choice_count_ = 0, most_blocks_ = 0, words_ = 0;
  Index edges_apart_ = std::numeric_limits<Index>::max();  // least distance of an edge and the next but one
  Index* first_choice_ = nullptr;                          // by sequence, and one past the last
  Choice* entries_ = nullptr;
  std::uint64_t* sets_ = nullptr;
};

/// Whether the query at `position` visits any key: one that it sees and, if a policy selects, that was chosen.
inline bool visits_keys(const Composition& composition, const BlockChoices& choices, Index sequence, Index kv_head,
                        Index position) {
  for (Index part = 0; part < composition.parts(); ++part) {
    const KeyRange seen = composition.keys(part, position);
    if (seen.empty()) continue;
    if (!choices.selects(part)) return true;
    if (!choices.set(choices.choice_of(sequence, position), kv_head, seen).first_run(seen).empty()) return true;
  }
  return false;
}

}  // namespace dca::detail
