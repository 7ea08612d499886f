// Keys and values of sequences that grow, each in one piece of memory.
#pragma once

#include <optional>

#include "dca/kv/paged.hpp"

namespace dca {

/// A cache of `sequences` sequences that share sizes and capacity, each with a length of its own. Give it to an
/// operator in the place of keys and values; `make_cache` of an operator makes the one that it can read.
///
/// It is a pool with one block per sequence: every sequence and kv_head has its rows side by side, so that decoding
/// reads memory from front to back. One thread at a time may change a cache; any number may read one that nobody
/// changes.
template <class BlocksOf>
class CacheOf {
 public:
  using Pool = BlocksOf;
  /// What a pool is made with: PlacedKeys, of a BlockPool.
  using Placed = std::remove_cvref_t<decltype(std::declval<const Pool&>().placement())>;

  /// Throws std::invalid_argument where a size is out of range (sequences and capacity must be at least 1), a head_dim
  /// does not suit the storage, rotary_dim exceeds head_dim, or the bytes overflow; std::bad_alloc without memory.
  CacheOf(Placed placed, CacheShape shape, Index sequences, CacheCapacity capacity)
      : pool_(std::move(placed), shape, checked("sequences", sequences), checked("capacity", capacity.tokens)),
        grows_(capacity.grows),
        blocks_(static_cast<std::size_t>(sequences)) {
    for (Index& block : blocks_) {
      block = pool_.take();
      tables_.push_back({std::span<const Index>(&block, 1), 0});
    }
  }

  /// Movable, not copyable: a copy is rarely intended.
  CacheOf(CacheOf&&) noexcept = default;
  CacheOf& operator=(CacheOf&&) noexcept = default;

  /// As BlockPool's set_key_offset. Throws std::invalid_argument, with nothing changed, where a sequence has tokens.
  template <class Offset>
  void set_key_offset(const Offset& offset) {
    for (const BlockTable& table : tables_) {
      if (table.length == 0) continue;
      detail::fail("key_offset", "given after " + detail::to_text(table.length) + " tokens",
                   "must be given before the first token");
    }
    for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) pool_.give_back(*block);
    const auto take_again = [this] {
      for (Index& block : blocks_) block = pool_.take();
    };
    try {
      pool_.set_key_offset(offset);
    } catch (...) {
      take_again();
      throw;
    }
    take_again();
  }

  /// Appends the tokens of key [m, kv_heads, head_dim] (unrotated) and value [m, kv_heads, v_head_dim] to a sequence.
  /// Throws, with nothing changed, std::invalid_argument where shapes do not fit or a cache that does not grow is full,
  /// std::bad_alloc without memory.
  template <class Device, class Keys, class Values>
  void append(const Device& device, Index sequence, const Keys& key, const Values& value) {
    check_sequence(sequence);
    append_to(device, std::span<BlockTable>(&table(sequence), 1), key, value);
  }

  /// Appends key [sequences, m, kv_heads, head_dim] and value likewise, m tokens to each sequence. Throws as the above.
  template <class Device, class Keys, class Values>
  void append(const Device& device, const Keys& key, const Values& value) {
    append_to(device, tables_, key, value);
  }

  /// Forgets the tokens from position `length` on. Throws std::invalid_argument unless 0 <= length <= length(sequence).
  void truncate(Index sequence, Index length) {
    check_sequence(sequence);
    check_length(sequence, length);
    table(sequence).length = length;
  }

  /// Makes the first `length` tokens of sequence `from` those of sequence `to`, in place of what it held. Throws
  /// std::invalid_argument unless both exist, are not the same, and 0 <= length <= length(from).
  void copy_prefix(Index from, Index to, Index length) {
    check_sequence(from);
    check_sequence(to);
    if (from == to) detail::fail("to", detail::to_text(to), "must be another sequence than from");
    check_length(from, length);
    pool_.copy_tokens(table(from).blocks[0], table(to).blocks[0], length);
    table(to).length = length;
  }

  /// All sequences as the keys and values of a call; valid until the cache changes.
  PagedKeyValues<Pool> view() const { return PagedKeyValues<Pool>(pool_, tables_); }

  /// Some sequences, in the order of `sequences`, which must outlive the view. Throws std::invalid_argument where one
  /// does not exist.
  PagedKeyValues<Pool> view(std::span<const Index> sequences) const {
    return PagedKeyValues<Pool>(pool_, tables_, sequences);
  }

  Index sequences() const { return static_cast<Index>(tables_.size()); }
  /// Tokens of a sequence. Throws std::invalid_argument where it does not exist.
  Index length(Index sequence) const {
    check_sequence(sequence);
    return tables_[static_cast<std::size_t>(sequence)].length;
  }
  /// Tokens per sequence that fit without growing.
  Index capacity() const { return pool_.block_size(); }
  /// Bytes held for keys, values and summaries.
  Index bytes() const { return pool_.bytes(); }

 private:
  static Index checked(const char* argument, Index size) {
    if (size < 1) detail::fail(argument, detail::to_text(size), "must be at least 1");
    return size;
  }

  BlockTable& table(Index sequence) { return tables_[static_cast<std::size_t>(sequence)]; }

  void check_sequence(Index sequence) const {
    if (sequence < 0 || sequence >= sequences()) {
      detail::fail("sequence", detail::to_text(sequence), "must be from 0 to " + detail::to_text(sequences() - 1));
    }
  }
  void check_length(Index sequence, Index length) const {
    const Index most = tables_[static_cast<std::size_t>(sequence)].length;
    if (length < 0 || length > most) {
      detail::fail("length", detail::to_text(length), "must be from 0 to the sequence's, " + detail::to_text(most));
    }
  }

  template <class Device, class Keys, class Values>
  void append_to(const Device& device, std::span<BlockTable> tables, const Keys& key, const Values& value) {
    const Index count = pool_.check_tokens(key, value, static_cast<Index>(tables.size()));
    Index longest = 0;
    for (const BlockTable& table : tables) longest = std::max(longest, table.length);
    // A larger pool replaces this one only when the append has succeeded; block numbers are the same in both.
    std::optional<Pool> larger = with_room(longest, count);
    Pool& pool = larger ? *larger : pool_;
    pool.append(device, std::span<const BlockTable>(tables), key, value);
    if (larger) pool_ = std::move(*larger);
    for (BlockTable& table : tables) table.length += count;
  }

  /// A larger pool with room for `more` tokens after `length` in every sequence; nothing where this pool has it.
  std::optional<Pool> with_room(Index length, Index more) const {
    if (more <= capacity() - length) return {};
    if (!grows_) {
      detail::fail("key", detail::to_text(more) + " tokens after " + detail::to_text(length),
                   "must fit the cache's capacity, " + detail::to_text(capacity()));
    }
    if (more > std::numeric_limits<Index>::max() / 2 - length) {
      detail::fail("key", detail::to_text(more) + " tokens", "sizes must fit a signed 64-bit index");
    }
    Pool larger(pool_.placement(), pool_.shape(), sequences(), std::max(length + more, capacity() + capacity() / 2));
    larger.share_key_offset(pool_);
    for (const BlockTable& table : tables_) {
      // Blocks of both pools are handed out in the same order.
      larger.copy_tokens_from(pool_, table.blocks[0], larger.take(), table.length);
    }
    return larger;
  }

  Pool pool_;
  bool grows_;
  std::vector<Index> blocks_;       // of each sequence
  std::vector<BlockTable> tables_;  // over blocks_
};

/// One whose keys are stored as K, rotated once when they enter, and values as V: float, double, Eigen::half,
/// Eigen::bfloat16, Int8, Int4, or a storage of your own.
template <class K, class Placement = ChunkOffset, class V = K>
using KeyValueCache = CacheOf<BlockPool<K, Placement, V>>;

}  // namespace dca
