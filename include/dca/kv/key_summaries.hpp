// What is known of a block of keys without reading them: per feature the mean, the least and the largest.
#pragma once

#include <cmath>
#include <limits>
#include <span>

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
  }

 private:
  /// Windows that a block can meet, wherever in a sequence it stands.
  static constexpr Index pieces_of(Index window, Index block_size) {
    if (window % block_size == 0) return 1;
    return block_size % window == 0 ? block_size / window : (block_size + window - 2) / window + 1;
  }

  T* place(Index block, Index head, Index piece) const {
    return reinterpret_cast<T*>(memory_.data()) +
           ((head * blocks_ + block) * pieces_ + piece) * KeySummary<T>::size(features_);
  }

  Index window_ = 0, blocks_ = 0, block_size_ = 1, pieces_ = 0, features_ = 0;
  AlignedBytes memory_;
};

}  // namespace dca::detail
