// The rows that the blocks of a pool hold.
#pragma once

#include <cstring>

#include "dca/device/scratch.hpp"
#include "dca/kv/byte_rows.hpp"
#include "dca/tensor/checks.hpp"

namespace dca::detail {

/// How the rows of a pool lie.
struct RowFormat {
  Index row_bytes = 0;
  Index side_bytes = 0;  // 0: no sides
  Index side_tokens = 1;
};

/// Rows of a pool's blocks, [kv_heads][blocks][block_size], and the sides beside them. By kv_head, then by block:
/// blocks taken one after the other are one stream for the head that reads them.
class PoolRows {
 public:
  PoolRows() = default;
  /// Without memory yet. Throws std::invalid_argument where the bytes overflow.
  PoolRows(Index head_count, Index blocks, Index block_size, const RowFormat& format)
      : kv_heads_(head_count),
        blocks_(blocks),
        block_size_(block_size),
        block_sides_(ceil_div(block_size, format.side_tokens)),
        format_(format) {
    row_bytes();  // both throw
    side_bytes();
  }

  /// Throws std::bad_alloc without memory.
  void take_memory() {
    row_memory_ = AlignedBytes(row_bytes());
    if (format_.side_bytes > 0) side_memory_ = AlignedBytes(side_bytes());
  }

  /// Where token `slot` of a block goes.
  BytePlace place(Index block, Index head, Index slot) const {
    return {row_at(block, head, slot), side_at(block, head, slot), slot % format_.side_tokens};
  }
  /// `count` tokens of a block, from `slot` on.
  ByteRows run(Index block, Index head, Index slot, Index count) const {
    ByteRows rows(row_at(block, head, slot), format_.row_bytes, count);
    rows.side = side_at(block, head, slot);
    rows.side_stride = format_.side_bytes;
    rows.side_token = slot % format_.side_tokens;
    return rows;
  }

  /// Whether token `slot` of a block is the first of a side.
  bool begins_side(Index slot) const { return slot % format_.side_tokens == 0; }

  /// Copies the first `tokens` tokens of a block of `other`.
  void copy(const PoolRows& other, Index from, Index to, Index tokens) const {
    if (tokens == 0) return;
    for (Index head = 0; head < kv_heads_; ++head) {
      copy_bytes(other.row_at(from, head, 0), tokens * format_.row_bytes, row_at(to, head, 0));
      if (format_.side_bytes == 0) continue;
      copy_bytes(other.side_at(from, head, 0), ceil_div(tokens, format_.side_tokens) * format_.side_bytes,
                 side_at(to, head, 0));
    }
  }

  Index side_tokens() const { return format_.side_tokens; }
  Index bytes() const { return row_memory_.size() + side_memory_.size(); }

 private:
  static void copy_bytes(const std::byte* from, Index count, std::byte* to) {
    std::memcpy(to, from, static_cast<std::size_t>(count));
  }

  Index row_bytes() const { return bytes_of(format_.row_bytes, block_size_); }
  Index side_bytes() const { return bytes_of(format_.side_bytes, block_sides_); }
  Index bytes_of(Index entry_bytes, Index in_block) const {
    const Index head_bytes = checked_product("block_size", kv_heads_ * entry_bytes, in_block);
    return checked_product("blocks", head_bytes, blocks_);
  }

  std::byte* row_at(Index block, Index head, Index slot) const {
    return row_memory_.data() + ((head * blocks_ + block) * block_size_ + slot) * format_.row_bytes;
  }
  std::byte* side_at(Index block, Index head, Index slot) const {
    if (format_.side_bytes == 0) return nullptr;
    return side_memory_.data() +
           ((head * blocks_ + block) * block_sides_ + slot / format_.side_tokens) * format_.side_bytes;
  }

  Index kv_heads_ = 0, blocks_ = 0, block_size_ = 1, block_sides_ = 1;
  RowFormat format_;
  AlignedBytes row_memory_, side_memory_;
};

}  // namespace dca::detail
