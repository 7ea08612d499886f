// Summaries that the blocks of a pool keep of their keys.
#pragma once

#include <numeric>
#include <span>
#include <vector>

#include "dca/device/scratch.hpp"
#include "dca/kv/key_summary.hpp"

namespace dca::detail {

/// The summaries of the blocks of a pool. A summary is of a window: `window` positions, counted from position 0 of a
/// sequence. A block stores a partial summary (a piece) for each window that it overlaps, so that blocks of any size
/// can be shared and copied with their summaries.
///
/// Where windows begin in a block depends on its phase: the position of its first token modulo the window. If
/// block_size or window divides the other, a block's pieces are right at any place of a sequence; otherwise for one
/// phase only.
template <class T>
class PoolSummaries {
 public:
  PoolSummaries() = default;

  /// Throws std::invalid_argument where the bytes overflow, std::bad_alloc without memory.
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

  /// Marks a block as one without summaries.
  void clear(Index block) {
    if (window_ > 0) phase(block) = unknown;
  }

  /// Whether the summaries of a block are right at any place of a sequence.
  bool valid_at_any_place() const { return window_ == 0 || window_ % block_size_ == 0 || block_size_ % window_ == 0; }

  /// Records that `block` is the b-th block of its sequence.
  void set_place(Index block, Index b) { phase(block) = phase_of(b); }

  /// Throws std::invalid_argument where the summaries of a block were made for another phase than that of the b-th
  /// block of a sequence.
  void check_place(Index block, Index b) const {
    if (valid_at_any_place() || phase(block) == unknown || phase(block) == phase_of(b)) return;
    fail("block_table", "block " + to_text(block) + " as number " + to_text(b),
         "its summaries were made at another offset from a multiple of summary_block: where neither block_size nor "
         "summary_block divides the other, it can be used at that offset only");
  }

  /// Throws std::invalid_argument where no block of this pool can have the phase of block `from` of `other`.
  void check_copy(const PoolSummaries& other, Index from) const {
    if (window_ == 0 || other.phase(from) == unknown) return;
    if (const Index step = std::gcd(window_, block_size_); other.phase(from) % step != 0) {
      fail("from",
           "block " + to_text(from) + " starts " + to_text(other.phase(from)) +
               " tokens after a multiple of summary_block",
           "in this pool it must be a multiple of " + to_text(step));
    }
  }

  Index bytes() const { return memory_.size(); }

  /// Calls f(first, last, piece) for the pieces [first, last) of a window, as far as they are below position `length`.
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

  /// Copies the summaries of block `from` of `other` to block `to`, as many as both can hold.
  void copy(const PoolSummaries& other, Index head_count, Index from, Index to) {
    const Index count = std::min(pieces_, other.pieces_) * KeySummary<T>::size(features_);
    for (Index head = 0; head < head_count; ++head) std::copy_n(other.place(from, head, 0), count, place(to, head, 0));
    if (window_ > 0) phase(to) = other.phase(from);
  }

 private:
  /// Most windows that a block can overlap, at any place of a sequence.
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
