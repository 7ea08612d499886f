// Sequences in blocks of a pool that share common prefixes.
#pragma once

#include <optional>
#include <utility>

#include "dca/kv/paged.hpp"

namespace dca {

/// Sequences that grow and shrink on the blocks of one pool. A fork shares all blocks of its origin; a shared block is
/// copied when one of its sequences writes into it. `make_paged_cache` of an operator makes the one that it can read.
template <class BlocksOf>
class PagedCacheOf {
 public:
  using Pool = BlocksOf;
  /// What a pool is made with: PlacedKeys, of a BlockPool.
  using Placed = std::remove_cvref_t<decltype(std::declval<const Pool&>().placement())>;

  /// Throws what BlockPool throws.
  PagedCacheOf(Placed placed, CacheShape shape, Index blocks, Index block_size)
      : pool_(std::move(placed), shape, blocks, block_size) {}

  /// As BlockPool's set_key_offset. Throws std::invalid_argument, with nothing changed, where a sequence has tokens.
  template <class Offset>
  void set_key_offset(const Offset& offset) {
    pool_.set_key_offset(offset);
  }

  /// Adds a sequence without tokens and returns its number, which may be that of a removed one. Throws std::bad_alloc
  /// without memory, with nothing changed.
  Index add() {
    Index sequence = static_cast<Index>(sequences_.size());
    if (unused_.empty()) {
      tables_.resize(sequences_.size() + 1);
      unused_.reserve(tables_.capacity());  // so that remove cannot fail
      sequences_.emplace_back();
    } else {
      sequence = unused_.back();
      unused_.pop_back();
    }
    sequences_[index(sequence)].used = true;
    return sequence;
  }

  /// Adds a sequence with the tokens of `sequence`, in the same blocks. Throws std::invalid_argument where that does
  /// not exist, std::bad_alloc as add.
  Index fork(Index sequence) {
    check_sequence(sequence);
    std::vector<Index> blocks = sequences_[index(sequence)].blocks;
    const Index copy = add();
    for (const Index block : blocks) pool_.share(block);
    sequences_[index(copy)].blocks = std::move(blocks);
    set_length(copy, length(sequence));
    return copy;
  }

  /// Forgets the tokens from position `length` on, and gives their blocks back. Throws std::invalid_argument unless
  /// 0 <= length <= length(sequence).
  void truncate(Index sequence, Index length) {
    check_sequence(sequence);
    if (length < 0 || length > this->length(sequence)) {
      detail::fail("length", detail::to_text(length),
                   "must be from 0 to the sequence's length, " + detail::to_text(this->length(sequence)));
    }
    std::vector<Index>& blocks = sequences_[index(sequence)].blocks;
    for (const std::size_t kept = index(detail::ceil_div(length, pool_.block_size())); blocks.size() > kept;) {
      pool_.give_back(blocks.back());
      blocks.pop_back();
    }
    set_length(sequence, length);
  }

  /// Removes a sequence. Throws std::invalid_argument where it does not exist.
  void remove(Index sequence) {
    truncate(sequence, 0);
    sequences_[index(sequence)].used = false;
    unused_.push_back(sequence);
  }

  /// Appends key [m, kv_heads, head_dim] (unrotated) and value [m, kv_heads, v_head_dim]. Throws, with nothing changed,
  /// std::invalid_argument where the sequence does not exist, shapes do not fit, or too few blocks are free,
  /// std::bad_alloc without memory.
  template <class Device, class Keys, class Values>
  void append(const Device& device, Index sequence, const Keys& key, const Values& value) {
    check_sequence(sequence);
    const Index count = pool_.check_tokens(key, value, 1);
    std::optional<Index> shared = make_room(sequence, count);
    try {
      pool_.append(device, std::span<const BlockTable>(&tables_[index(sequence)], 1), key, value);
    } catch (...) {
      truncate(sequence, length(sequence));  // gives back what make_room took
      if (shared) {
        std::swap(sequences_[index(sequence)].blocks.back(), *shared);
        pool_.give_back(*shared);
      }
      throw;
    }
    if (shared) pool_.give_back(*shared);
    set_length(sequence, length(sequence) + count);
  }

  /// Some sequences as the keys and values of a call, in the order of `sequences`. Refers to the cache and to
  /// `sequences`; valid until the cache changes. Throws std::invalid_argument where one does not exist.
  PagedKeyValues<Pool> view(std::span<const Index> sequences) const {
    for (const Index sequence : sequences) check_sequence(sequence);
    return PagedKeyValues<Pool>(pool_, tables_, sequences);
  }

  Index length(Index sequence) const {
    check_sequence(sequence);
    return tables_[index(sequence)].length;
  }
  const Pool& pool() const { return pool_; }

 private:
  struct Sequence {
    std::vector<Index> blocks{};
    bool used = false;
  };

  static std::size_t index(Index k) { return static_cast<std::size_t>(k); }

  void check_sequence(Index sequence) const {
    if (sequence < 0 || index(sequence) >= sequences_.size() || !sequences_[index(sequence)].used) {
      detail::fail("sequence", detail::to_text(sequence), "must be one that was added and not removed");
    }
  }

  void set_length(Index sequence, Index length) {
    tables_[index(sequence)] = {sequences_[index(sequence)].blocks, length};
  }

  /// Takes blocks for `count` more tokens. A partly filled last block that is shared is replaced by a copy; returns the
  /// shared one, to be given back when the append has succeeded.
  std::optional<Index> make_room(Index sequence, Index count) {
    std::vector<Index>& blocks = sequences_[index(sequence)].blocks;
    const Index now = length(sequence), size = pool_.block_size();
    if (count == 0) return {};
    if (count > std::numeric_limits<Index>::max() / 2 - now) {
      detail::fail("key", detail::to_text(count) + " tokens", "sizes must fit a signed 64-bit index");
    }
    const bool copies = now % size != 0 && pool_.users(blocks.back()) > 1;
    const Index needed = detail::ceil_div(now + count, size) - static_cast<Index>(blocks.size()) + (copies ? 1 : 0);
    if (needed > pool_.free_blocks()) {
      detail::fail("key",
                   detail::to_text(count) + " tokens after " + detail::to_text(now) + " need " +
                       detail::to_text(needed) + " blocks",
                   "must fit the free ones, " + detail::to_text(pool_.free_blocks()));
    }
    if (const std::size_t wanted = blocks.size() + index(needed); wanted > blocks.capacity()) {
      blocks.reserve(std::max(wanted, 2 * blocks.capacity()));
    }
    // Nothing can fail after this.
    std::optional<Index> shared;
    if (copies) {
      shared = pool_.take();
      pool_.copy_tokens(blocks.back(), *shared, now % size);
      std::swap(blocks.back(), *shared);
    }
    while (static_cast<Index>(blocks.size()) * size < now + count) blocks.push_back(pool_.take());
    set_length(sequence, now);
    return shared;
  }

  Pool pool_;
  std::vector<Sequence> sequences_;
  std::vector<BlockTable> tables_;  // by sequence, over its blocks
  std::vector<Index> unused_;
};

/// On a BlockPool of the same storages and placement.
template <class K, class Placement = ChunkOffset, class V = K>
using PagedCache = PagedCacheOf<BlockPool<K, Placement, V>>;

}  // namespace dca
