// What is known of a block of keys without reading them: per feature the mean, the least and the largest.
#pragma once

#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "dca/device/scratch.hpp"
#include "dca/kv/storage.hpp"

namespace dca::detail {

/// A summary in memory: mean, least and largest, [3][features] in this order. Made by adding rows one by one, or other
/// summaries; NaN of a key finds its way into mean and largest.
template <class T>
class KeySummary {
 public:
  static constexpr Index size(Index features) { return 3 * features; }

  KeySummary(T* memory, Index features)
      : mean_(memory), least_(memory + features), largest_(memory + 2 * features), features_(features) {}

  void clear() {
    std::fill_n(mean_, features_, T{0});
    std::fill_n(least_, features_, std::numeric_limits<T>::infinity());
    std::fill_n(largest_, features_, -std::numeric_limits<T>::infinity());
  }

  /// One more key; mean holds the sum until `finish`.
  void add(const T* __restrict row) {
    for (Index d = 0; d < features_; ++d) {
      mean_[d] += row[d];
      least_[d] = std::min(least_[d], row[d]);
      largest_[d] = std::max(largest_[d], row[d]);
    }
  }

  /// `count` more keys, by their summary.
  template <class S>
  void add(const S* summary, Index count) {
    for (Index d = 0; d < features_; ++d) {
      mean_[d] += static_cast<T>(summary[d]) * static_cast<T>(count);
      least_[d] = std::min(least_[d], static_cast<T>(summary[features_ + d]));
      largest_[d] = std::max(largest_[d], static_cast<T>(summary[2 * features_ + d]));
    }
  }

  void finish(Index count) {
    const T share = T{1} / static_cast<T>(count);
    for (Index d = 0; d < features_; ++d) {
      mean_[d] *= share;
      if (std::isnan(mean_[d])) largest_[d] = mean_[d];  // comparisons do not see it
    }
  }

 private:
  T *mean_, *least_, *largest_;
  Index features_;
};

/// The summaries of a pool of blocks of tokens. Windows of `window` positions, from position 0 of a sequence on, are
/// what is summarised; a block of the pool holds a piece of every window that it meets, so that blocks of any size may
/// be shared and copied with their summaries.
///
/// Where the windows cut a block depends on the position of its first token, modulo the window: its phase. Blocks that
/// are whole windows, or lie within one, are cut alike wherever they stand; others are good for one phase alone.
template <class T>
class PoolSummaries {
 public:
  PoolSummaries() = default;

  /// Throws std::invalid_argument where the bytes overflow, std::bad_alloc.
  PoolSummaries(Index window, Index head_count, Index blocks, Index block_size, Index features)
      : window_(window),
        blocks_(blocks),
        block_size_(block_size),
        pieces_(pieces_of(window, block_size)),
        features_(features) {
    Index bytes =
        checked_product("summary_block", KeySummary<T>::size(features) * static_cast<Index>(sizeof(T)), head_count);
    bytes = checked_product("summary_block", checked_product("summary_block", bytes, pieces_), blocks);
    memory_ = AlignedBytes(bytes);
    phases_.assign(static_cast<std::size_t>(blocks), Index{unknown});
  }

  /// Forgets what a block held.
  void clear(Index block) {
    if (window_ > 0) phase(block) = unknown;
  }

  /// Whether blocks are cut alike wherever they stand.
  bool cut_alike() const { return window_ == 0 || window_ % block_size_ == 0 || block_size_ % window_ == 0; }

  /// Block `block` stands as the b-th of its sequence.
  void place_block(Index block, Index b) { phase(block) = phase_of(b); }

  /// Throws std::invalid_argument where the summaries of a block are those of another place in a sequence than the
  /// b-th.
  void check_place(Index block, Index b) const {
    if (cut_alike() || phase(block) == unknown || phase(block) == phase_of(b)) return;
    fail("block_table", "block " + std::to_string(block) + " as number " + std::to_string(b),
         "its summaries are those of another place: where block_size and summary_block do not divide each other, a "
         "block keeps its place in a sequence");
  }

  /// Throws std::invalid_argument where no block of these could stand where block `from` of `other` stands.
  void check_copy(const PoolSummaries& other, Index from) const {
    if (window_ == 0 || other.phase(from) == unknown) return;
    if (const Index step = std::gcd(window_, block_size_); other.phase(from) % step != 0) {
      fail("from",
           "block " + std::to_string(from) + " starts " + std::to_string(other.phase(from)) +
               " tokens after a multiple of summary_block",
           "must be a multiple of " + std::to_string(step) + ", as blocks of the pool start");
    }
  }

  Index bytes() const { return memory_.size(); }

  /// Calls f(first position, last position, place) for the pieces of a window below position `length`.
  template <class F>
  void for_each_piece(std::span<const Index> blocks, Index head, Index window, Index length, F&& f) const {
    const Index end = std::min((window + 1) * window_, length);
    for (Index first = window * window_; first < end;) {
      const Index b = first / block_size_, last = std::min(end, (b + 1) * block_size_);
      const Index piece = window - b * block_size_ / window_;
      f(first, last, place(blocks[static_cast<std::size_t>(b)], head, piece));
      first = last;
    }
  }

  /// The summaries of block `from` of `other`, as far as both have room, become those of block `to`.
  void copy(const PoolSummaries& other, Index head_count, Index from, Index to) {
    const Index count = std::min(pieces_, other.pieces_) * KeySummary<T>::size(features_);
    for (Index head = 0; head < head_count; ++head) std::copy_n(other.place(from, head, 0), count, place(to, head, 0));
    if (window_ > 0) phase(to) = other.phase(from);
  }

 private:
  /// Windows that a block can meet, wherever in a sequence it stands.
  static constexpr Index pieces_of(Index window, Index block_size) {
    if (window % block_size == 0) return 1;
    return block_size % window == 0 ? block_size / window : (block_size + window - 2) / window + 1;
  }

  static constexpr Index unknown = -1;

  Index phase_of(Index b) const { return b * block_size_ % window_; }
  Index& phase(Index block) { return phases_[static_cast<std::size_t>(block)]; }
  Index phase(Index block) const { return phases_[static_cast<std::size_t>(block)]; }

  T* place(Index block, Index head, Index piece) const {
    return reinterpret_cast<T*>(memory_.data()) +
           ((head * blocks_ + block) * pieces_ + piece) * KeySummary<T>::size(features_);
  }

  Index window_ = 0, blocks_ = 0, block_size_ = 1, pieces_ = 0, features_ = 0;
  AlignedBytes memory_;
  std::vector<Index> phases_;  // by block
};

}  // namespace dca::detail
