// Policies that choose which blocks of keys queries visit: concepts, arguments and results.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <span>
#include <vector>

#include "dca/positions/chunk_part.hpp"

namespace dca {

/// Queries that share a choice of keys: one sequence, all heads of one kv_head, and neighbouring tokens that see the
/// same keys through the part.
struct QueryBlock {
  Index sequence = 0;  // of the call, counted from 0
  Index kv_head = 0;   // counted from 0
  KeyRange queries{};  // absolute positions of the queries, [first, last)
  KeyRange keys{};     // absolute positions of the keys to choose from
};

/// A set of key blocks: block b holds the keys [b * block_size, (b + 1) * block_size), as far as they are in `keys`.
class BlockSet {
 public:
  static constexpr Index word_bits = 64;

  /// Words of a set of the blocks below key `last`. Throws std::invalid_argument where block_size < 1.
  static constexpr Index words(Index last, Index block_size) {
    if (block_size < 1) fail_block_size(block_size);
    return detail::ceil_div(detail::ceil_div(std::max<Index>(last, 0), block_size), word_bits);
  }

  /// A set in the memory of words(keys.last, block_size) words. Throws std::invalid_argument where block_size < 1, or
  /// where `keys` is not empty and begins before 0 or memory is null.
  BlockSet(std::uint64_t* memory, Index block_size, KeyRange keys)
      : words_(memory), block_size_(block_size), keys_(keys) {
    if (block_size < 1) fail_block_size(block_size);
    if (!keys.empty() && (keys.first < 0 || memory == nullptr)) fail_keys();
  }

  Index block_size() const { return block_size_; }
  /// Blocks that hold a key to choose from are [first_block, last_block).
  Index first_block() const { return keys_.first / block_size_; }
  Index last_block() const { return keys_.empty() ? first_block() : detail::ceil_div(keys_.last, block_size_); }

  /// Adds a block; one without keys to choose from is left out.
  void add(Index block) {
    if (block < first_block() || block >= last_block()) return;
    words_[block / word_bits] |= std::uint64_t{1} << (block % word_bits);
  }

  /// Adds all blocks that hold any of `keys`, as far as there are any to choose from.
  void add_keys(KeyRange keys) {
    const KeyRange wanted{std::max(keys.first, keys_.first), std::min(keys.last, keys_.last)};
    if (wanted.empty()) return;
    for (Index block = wanted.first / block_size_; block * block_size_ < wanted.last; ++block) add(block);
  }

  /// Whether a block is in the set.
  bool contains(Index block) const { return block >= first_block() && block < last_block() && bit(block); }

  /// The first run of keys of chosen blocks in `within`; empty where there is none.
  KeyRange first_run(KeyRange within) const {
    const Index end = std::min(within.last, keys_.last);
    Index block = std::max(within.first, keys_.first) / block_size_;
    while (block * block_size_ < end && !bit(block)) ++block;
    const Index first = std::max({within.first, keys_.first, block * block_size_});
    while (block * block_size_ < end && bit(block)) ++block;
    return {first, std::min(end, block * block_size_)};
  }

 private:
  /// For blocks below last_block() only.
  bool bit(Index block) const { return (words_[block / word_bits] >> (block % word_bits) & 1) != 0; }

  [[noreturn]] static void fail_block_size(Index block_size) {
    detail::fail("block_size", detail::to_text(block_size), "must be at least 1");
  }
  [[noreturn]] void fail_keys() const {
    detail::fail("keys", "[" + detail::to_text(keys_.first) + ", " + detail::to_text(keys_.last) + ")",
                 "must not begin before 0, and memory must not be null");
  }

  std::uint64_t* words_;
  Index block_size_;
  KeyRange keys_;
};

/// A key block and an estimate of the softmax mass that some queries have in it. The estimate of a range's last block,
/// which may be incomplete, is infinite.
template <class T>
struct RankedBlock {
  T importance{};
  Index block = 0;
};

/// What queries visited, for inspection.
struct ChosenBlocks {
  QueryBlock query{};
  std::vector<Index> blocks{};  // ascending
};

/// A policy without a choice: every key is visited, and the result is exact.
struct AllChunks {};

/// A policy that chooses by positions alone. choose(query, set) adds to an empty set; queries() is how many
/// neighbouring tokens share a choice, block_size() the keys of a block. It is called from several threads at once, and
/// its answer should depend on its arguments alone. What it throws reaches the caller, with nothing written. A policy
/// may have a function check(), called first, that throws std::invalid_argument for settings that it cannot use.
template <class Selection>
concept PlaceSelection = requires(const Selection& selection, const QueryBlock& query, BlockSet& set) {
  { selection.block_size() } -> std::same_as<Index>;
  { selection.queries() } -> std::same_as<Index>;
  selection.choose(query, set);
};

/// A policy that chooses by estimates: as PlaceSelection, but with choose(query, blocks, set), where `blocks` are all
/// blocks to choose from in ascending order, and may be reordered. The importance of a block is the sum over queries of
/// its softmax over all blocks, with one logit for each query and block: an upper bound over the block's keys where
/// optimism() is 1, the logit of their mean where it is 0, interpolated between. Queries that are not finite do not
/// count; the importance of a block with keys that are not is infinite.
template <class Selection, class T>
concept RankSelection = requires(const Selection& selection, const QueryBlock& query, BlockSet& set) {
  { selection.block_size() } -> std::same_as<Index>;
  { selection.queries() } -> std::same_as<Index>;
  { selection.optimism() } -> std::same_as<double>;
  selection.choose(query, std::span<RankedBlock<T>>(), set);
};

template <class Selection, class T>
concept BlockSelection = std::same_as<Selection, AllChunks> || PlaceSelection<Selection> || RankSelection<Selection, T>;

/// A part among whose keys a policy may choose. Neither end of its ranges may decrease from one query to the next:
/// where the first and the last of some queries see the same keys, all between are taken to see them too, and share a
/// choice. Each change of the range begins a new choice: one for every token if the range moves with every token, one
/// per chunk for InterChunk.
template <class Part>
concept SelectablePart = ChunkPart<Part> && requires {
  requires Part::selectable;
};

}  // namespace dca
