// The rows that the blocks of a pool hold.
#pragma once

#include "dca/device/scratch.hpp"
#include "dca/kv/key_value_source.hpp"
#include "dca/tensor/checks.hpp"

namespace dca::detail {

/// Rows of a pool's blocks, [kv_heads][blocks][block_size], stored as E, and the sides beside them. By kv_head, then by
/// block: blocks taken one after the other are one stream for the head that reads them.
template <class E>
class PoolRows {
 public:
  PoolRows() = default;
  /// Without memory yet. Throws std::invalid_argument where the bytes overflow.
  PoolRows(Index head_count, Index blocks, Index block_size, Index features)
      : kv_heads_(head_count),
        blocks_(blocks),
        block_size_(block_size),
        block_sides_(ceil_div(block_size, SideOf<E>::tokens)),
        units_(RowStorage<E>::units(features)),
        sides_(SideOf<E>::size(features)) {
    row_bytes();  // both throw
    side_bytes();
  }

  /// Throws std::bad_alloc without memory.
  void take_memory() {
    row_memory_ = AlignedBytes(row_bytes());
    if (HasSide<E>) side_memory_ = AlignedBytes(side_bytes());
  }

  /// Where token `slot` of a block goes.
  RowPlace<E> place(Index block, Index head, Index slot) const {
    return {row_at(block, head, slot), side_at(block, head, slot), slot % SideOf<E>::tokens};
  }
  /// `count` tokens of a block, from `slot` on.
  RowRun<E> run(Index block, Index head, Index slot, Index count) const {
    return {row_at(block, head, slot), units_, count, side_at(block, head, slot), sides_, slot % SideOf<E>::tokens};
  }

  /// Whether token `slot` of a block is the first of a side.
  static bool begins_side(Index slot) { return slot % SideOf<E>::tokens == 0; }

  /// Copies the first `tokens` tokens of a block of `other`.
  void copy(const PoolRows& other, Index from, Index to, Index tokens) const {
    for (Index head = 0; head < kv_heads_; ++head) {
      std::copy_n(other.row_at(from, head, 0), tokens * units_, row_at(to, head, 0));
      if constexpr (HasSide<E>) {
        std::copy_n(other.side_at(from, head, 0), ceil_div(tokens, SideOf<E>::tokens) * sides_, side_at(to, head, 0));
      }
    }
  }

  Index bytes() const { return row_memory_.size() + side_memory_.size(); }

 private:
  Index row_bytes() const { return bytes_of(units_, sizeof(StorageUnit<E>), block_size_); }
  Index side_bytes() const { return bytes_of(sides_, sizeof(StorageSide<E>), block_sides_); }
  Index bytes_of(Index elements, Index element_bytes, Index in_block) const {
    const Index head_bytes = checked_product("block_size", kv_heads_ * elements * element_bytes, in_block);
    return checked_product("blocks", head_bytes, blocks_);
  }

  StorageUnit<E>* row_at(Index block, Index head, Index slot) const {
    return reinterpret_cast<StorageUnit<E>*>(row_memory_.data()) +
           ((head * blocks_ + block) * block_size_ + slot) * units_;
  }
  StorageSide<E>* side_at(Index block, Index head, Index slot) const {
    if constexpr (!HasSide<E>) return nullptr;
    return reinterpret_cast<StorageSide<E>*>(side_memory_.data()) +
           ((head * blocks_ + block) * block_sides_ + slot / SideOf<E>::tokens) * sides_;
  }

  Index kv_heads_ = 0, blocks_ = 0, block_size_ = 1, block_sides_ = 1;
  Index units_ = 0, sides_ = 0;  // of a row, of a side
  AlignedBytes row_memory_, side_memory_;
};

}  // namespace dca::detail
