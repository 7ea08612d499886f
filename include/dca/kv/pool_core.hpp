// What the pools of all storages share: the blocks, who uses them, and the rows and summaries in them.
#pragma once

#include <vector>

#include "dca/kv/placed_rows.hpp"
#include "dca/kv/pool_rows.hpp"
#include "dca/kv/pool_summaries.hpp"

namespace dca::detail {

/// A BlockPool whose storages and placement are erased. Scalar is that of rotation and summaries.
template <class Scalar>
class PoolCore {
 public:
  /// Throws as BlockPool does.
  PoolCore(const PlacementRef& placed, const CacheShape& shape, const StoredAs<Scalar>& key,
           const StoredAs<Scalar>& value, Index blocks, Index block_size)
      : shape_(shape), block_size_(block_size), decode_key_(key.decode), encode_key_(key.encode) {
    check_cache_shape(shape_, key.multiple, value.multiple);
    if (placed.rope != nullptr && placed.rope->rotary_dim() > shape_.head_dim) {
      fail("rotary_dim", to_text(placed.rope->rotary_dim()), "must be at most head_dim, " + to_text(shape_.head_dim));
    }
    if (blocks < 0) fail("blocks", to_text(blocks), "must be at least 0");
    if (block_size < 1) fail("block_size", to_text(block_size), "must be at least 1");
    key_rows_ = PoolRows(shape_.kv_heads, blocks, block_size, format(key, shape_.head_dim));
    value_rows_ = PoolRows(shape_.kv_heads, blocks, block_size, format(value, shape_.v_head_dim));
    key_rows_.take_memory();
    value_rows_.take_memory();
    if (const Index window = shape_.summary_block; window > 0) {
      if (placed.rope == nullptr) {
        fail("summary_block", to_text(window), "must be 0 where keys are held unplaced");
      }
      summaries_ = PoolSummaries<Scalar>(window, shape_.kv_heads, blocks, block_size, shape_.head_dim);
    }
    users_.assign(static_cast<std::size_t>(blocks), 0);
    written_by_.assign(static_cast<std::size_t>(blocks), 0);
    free_.reserve(static_cast<std::size_t>(blocks));
    for (Index block = blocks - 1; block >= 0; --block) free_.push_back(block);
  }

  /// As BlockPool's, of numbers that `decode` makes Scalars (null: they are).
  void set_key_offset(const PlacementRef& placed, const AnyTensor& offset, DecodeRow<Scalar> decode) {
    if (free_blocks() != blocks()) {
      fail("key_offset", "given with " + to_text(blocks() - free_blocks()) + " blocks in use",
           "must be given before the first token");
    }
    offset_ = make_key_offset<Scalar>(offset, decode, shape_, placed.rope);
  }
  void share_key_offset(const PoolCore& other) { offset_ = other.offset_; }
  /// Null where there is none.
  const KeyOffset* key_offset() const { return offset_.get(); }

  /// A free block, now with one user. Throws std::invalid_argument where none is free.
  Index take() {
    if (free_.empty()) {
      fail("blocks", "all " + to_text(blocks()) + " are in use", "a block must be given back first");
    }
    const Index block = free_.back();
    free_.pop_back();
    users_[index(block)] = 1;
    summaries_.clear(block);
    return block;
  }

  /// One more user of a block in use. Throws std::invalid_argument for another block.
  void share(Index block) {
    check_in_use(block);
    ++users_[index(block)];
  }

  /// One user less; the block is free when none is left. Throws std::invalid_argument for a block not in use.
  void give_back(Index block) {
    check_in_use(block);
    if (--users_[index(block)] == 0) free_.push_back(block);
  }

  /// Users of a block; 0 where it is free.
  Index users(Index block) const {
    check_block(block);
    return users_[index(block)];
  }

  /// As BlockPool's append.
  void append(const DeviceRef& device, const PlacementRef& placed, const TokenFunctions<Scalar>& functions,
              std::span<const BlockTable> tables, const NewTokens& tokens) {
    ++append_;
    for (const BlockTable& table : tables) check_writable(table, tokens.count());
    for (const BlockTable& table : tables) check_summary_blocks(table, tokens.count());
    const Index bytes = std::max(TokenStore<Scalar>::bytes(placed, shape_, key_offset()), summary_bytes());
    const Index threads = worker_count(device, std::numeric_limits<Index>::max());
    workspace_.reserve(threads * bytes + Arena::alignment);  // nothing can fail after this
    for (std::size_t b = 0; b < tables.size(); ++b) {
      store_tokens(device, placed, functions, tables[b], tokens, static_cast<Index>(b));
      if (shape_.summary_block > 0 && tokens.count() > 0) summarise(device, placed, tables[b], tokens.count());
    }
  }

  /// As BlockPool's copy_tokens_from, but for the placement.
  void copy_tokens_from(const PoolCore& other, Index from, Index to, Index tokens) {
    check_in_use(to);
    other.check_in_use(from);
    check_sole_user(to);
    if (&other == this && from == to) fail("to", to_text(to), "must be another block than from");
    if (const Index most = std::min(block_size_, other.block_size_); tokens < 0 || tokens > most) {
      fail("tokens", to_text(tokens), "must be from 0 to block_size, " + to_text(most));
    }
    summaries_.check_copy(other.summaries_, from);
    key_rows_.copy(other.key_rows_, from, to, tokens);
    value_rows_.copy(other.value_rows_, from, to, tokens);
    summaries_.copy(other.summaries_, shape_.kv_heads, from, to);
  }

  /// Throws std::invalid_argument where a table has too few blocks, or names one that is out of the pool, not in use,
  /// or with summaries made for another place of a sequence.
  void check_readable(const BlockTable& table) const {
    check_holds(table, table.length);
    const Index count = ceil_div(table.length, block_size_);
    for (Index b = 0; b < count; ++b) check_in_use(table.blocks[index(b)]);
    if (summaries_.valid_at_any_place()) return;  // spares each call a second pass over long tables
    for (Index b = 0; b < count; ++b) summaries_.check_place(table.blocks[index(b)], b);
  }

  ByteRows keys(const BlockTable& table, Index kv_head, Index first) const {
    return run(key_rows_, table, kv_head, first);
  }
  ByteRows values(const BlockTable& table, Index kv_head, Index first) const {
    return run(value_rows_, table, kv_head, first);
  }

  /// Writes mean, least and largest, [3][head_dim], of the keys of those tokens [window * summary_block, (window + 1) *
  /// summary_block) of a table that exist.
  template <class T>
  void read_summary(const BlockTable& table, Index kv_head, Index window, T* place) const {
    KeySummary<T> summary(place, shape_.head_dim);
    summary.clear();
    Index count = 0;
    summaries_.for_each_piece(table.blocks, kv_head, window, table.length, [&](Index first, Index last, const auto* x) {
      summary.add(x, last - first);
      count += last - first;
    });
    summary.finish(count);
  }

  Index blocks() const { return static_cast<Index>(users_.size()); }
  Index free_blocks() const { return static_cast<Index>(free_.size()); }
  Index block_size() const { return block_size_; }
  const CacheShape& shape() const { return shape_; }
  /// Bytes held for keys, values and summaries.
  Index bytes() const { return key_rows_.bytes() + value_rows_.bytes() + summaries_.bytes(); }

  /// Throws std::invalid_argument where the pools differ in shape, summary_block or key offset.
  void check_alike(const PoolCore& other) const {
    const CacheShape &mine = shape_, &given = other.shape_;
    check_equal("other", "kv_heads", given.kv_heads, "this pool", mine.kv_heads);
    check_equal("other", "head_dim", given.head_dim, "this pool", mine.head_dim);
    check_equal("other", "v_head_dim", given.v_head_dim, "this pool", mine.v_head_dim);
    check_equal("other", "summary_block", given.summary_block, "this pool", mine.summary_block);
    const KeyOffset *const has = key_offset(), *const has_other = other.key_offset();
    if (has != has_other && (has == nullptr || has_other == nullptr || !has->same_rows(*has_other))) {
      fail("other", "holds keys less another offset", "must have the key offset of this pool");
    }
  }

 private:
  static std::size_t index(Index k) { return static_cast<std::size_t>(k); }

  static RowFormat format(const StoredAs<Scalar>& stored, Index features) {
    return {stored.row_bytes(features), stored.side_bytes(features), stored.side_tokens};
  }

  /// What a thread needs to summarise keys.
  struct Summariser {
    Summariser(const CacheShape& shape, const KeyOffset* key_offset, Arena& arena)
        : row(arena.take<Scalar>(shape.head_dim)), offset(key_offset, arena) {}

    Scalar* row;
    OffsetTurner<Scalar> offset;
  };

  Index summary_bytes() const {
    if (shape_.summary_block == 0) return 0;
    Arena counter;
    const Summariser counted(shape_, key_offset(), counter);
    return counter.used();
  }

  /// Stores all tokens of batch b after those of a table. Those of a side are stored by one thread.
  void store_tokens(const DeviceRef& device, const PlacementRef& placed, const TokenFunctions<Scalar>& functions,
                    const BlockTable& table, const NewTokens& tokens, Index b) {
    constexpr Index rows_per_task = 32;
    const Index count = tokens.count();
    const Index tasks = ceil_div(count, rows_per_task), workers = worker_count(device, tasks);
    const Index bytes = TokenStore<Scalar>::bytes(placed, shape_, key_offset());
    const TensorRows keys(tokens.key), values(tokens.value);
    const auto first_row = [&](Index task) {
      Index r = std::min(task * rows_per_task, count);
      const auto begins_sides = [&](Index slot) {
        return key_rows_.begins_side(slot) && value_rows_.begins_side(slot);
      };
      while (task > 0 && r < count && !begins_sides((table.length + r) % block_size_)) ++r;
      return r;
    };
    Scratch scratch(device, &workspace_, workers * bytes);
    run_tasks(device, scratch.helpers(), workers, tasks, [&](Index worker, Index task) {
      Arena arena(scratch.data() + worker * bytes);
      TokenStore<Scalar> store(placed, shape_, functions, encode_key_, key_offset(), arena);
      const Index end = first_row(task + 1);
      for (Index r = first_row(task); r < end; ++r) {
        const Index position = table.length + r, slot = position % block_size_;
        const Index block = table.blocks[index(position / block_size_)];
        for (Index head = 0; head < shape_.kv_heads; ++head) {
          store(position, head, keys.row(b, r, head), values.row(b, r, head), key_rows_.place(block, head, slot),
                value_rows_.place(block, head, slot));
        }
      }
    });
  }

  /// Recomputes, from stored keys, the summaries of the windows that the next `count` tokens of the table fall into: a
  /// summary does not depend on how its tokens were appended.
  void summarise(const DeviceRef& device, const PlacementRef& placed, const BlockTable& table, Index count) {
    const Index window = shape_.summary_block, length = table.length + count, first_window = table.length / window;
    for (Index b = table.length / block_size_; b < ceil_div(length, block_size_); ++b) {
      summaries_.set_place(table.blocks[index(b)], b);
    }
    const Index tasks = (ceil_div(length, window) - first_window) * shape_.kv_heads;
    const Index workers = worker_count(device, tasks);
    const Index bytes = summary_bytes();
    Scratch scratch(device, &workspace_, workers * bytes);
    run_tasks(device, scratch.helpers(), workers, tasks, [&](Index worker, Index task) {
      Arena arena(scratch.data() + worker * bytes);
      Summariser use(shape_, key_offset(), arena);
      const Index head = task % shape_.kv_heads;
      const auto make = [&](Index first, Index last, Scalar* place) {
        KeySummary<Scalar> summary(place, shape_.head_dim);
        summary.clear();
        const ByteRows stored =
            key_rows_.run(table.blocks[index(first / block_size_)], head, first % block_size_, last - first);
        for (Index r = 0; r < stored.count; ++r) {
          const ByteRow key = stored.row(r, key_rows_.side_tokens());
          const auto* row = reinterpret_cast<const Scalar*>(key.data);
          if (decode_key_ != nullptr) {
            decode_key_(key, shape_.head_dim, use.row);
            row = use.row;
          }
          if (key_offset() != nullptr) {
            if (row != use.row) std::copy_n(row, shape_.head_dim, use.row);
            use.offset.add(head, placed.position(placed.layout, first + r), use.row);
            row = use.row;
          }
          summary.add(row);
        }
        summary.finish(last - first);
      };
      summaries_.for_each_piece(table.blocks, head, first_window + task / shape_.kv_heads, length, make);
    });
  }

  ByteRows run(const PoolRows& rows, const BlockTable& table, Index kv_head, Index first) const {
    const Index slot = first % block_size_;
    return rows.run(table.blocks[index(first / block_size_)], kv_head, slot,
                    std::min(block_size_ - slot, table.length - first));
  }

  void check_block(Index block) const {
    if (block < 0 || block >= blocks()) {
      fail("block_table", "block " + to_text(block), "must be from 0 to " + to_text(blocks() - 1));
    }
  }
  void check_in_use(Index block) const {
    check_block(block);
    if (users_[index(block)] == 0) {
      fail("block_table", "block " + to_text(block) + " is free", "must be one that is in use");
    }
  }

  void check_holds(const BlockTable& table, Index tokens) const {
    if (table.length < 0 || ceil_div(tokens, block_size_) > static_cast<Index>(table.blocks.size())) {
      fail("block_table", to_text(table.blocks.size()) + " blocks of " + to_text(block_size_),
           "must hold " + to_text(tokens) + " tokens");
    }
  }

  void check_sole_user(Index block) const {
    if (users_[index(block)] > 1) {
      fail("block_table", "block " + to_text(block) + " has " + to_text(users_[index(block)]) + " users",
           "a block that is written must have one");
    }
  }

  [[noreturn]] static void fail_twice(Index block) {
    fail("block_table", "block " + to_text(block) + " is listed twice",
         "a block that is written must belong to one place of one sequence");
  }

  /// Checks the blocks that the next `count` tokens are written to: in use, with one user, not yet written by this
  /// append.
  void check_writable(const BlockTable& table, Index count) {
    check_holds(table, table.length);
    const Index more = std::min(count, std::numeric_limits<Index>::max() - table.length);
    check_holds(table, table.length + more);
    if (count == 0) return;
    for (Index b = table.length / block_size_; b <= (table.length + count - 1) / block_size_; ++b) {
      const Index block = table.blocks[index(b)];
      check_in_use(block);
      check_sole_user(block);
      if (written_by_[index(block)] == append_) fail_twice(block);
      written_by_[index(block)] = append_;
    }
    if (table.length % block_size_ != 0) {  // its last block has summaries already
      summaries_.check_place(table.blocks[index(table.length / block_size_)], table.length / block_size_);
    }
  }

  /// Checks the earlier blocks of the window that the append continues: their summaries are recomputed. To be called
  /// after check_writable of all tables.
  void check_summary_blocks(const BlockTable& table, Index count) const {
    const Index window = shape_.summary_block;
    if (window == 0 || count == 0) return;
    for (Index b = table.length / window * window / block_size_; b < table.length / block_size_; ++b) {
      check_in_use(table.blocks[index(b)]);
      summaries_.check_place(table.blocks[index(b)], b);
      if (written_by_[index(table.blocks[index(b)])] == append_) fail_twice(table.blocks[index(b)]);
    }
  }

  CacheShape shape_;
  Index block_size_;
  DecodeRow<Scalar> decode_key_;
  EncodeRow encode_key_;
  std::shared_ptr<const KeyOffset> offset_{};
  std::vector<Index> users_;  // by block
  std::vector<Index> free_;
  std::vector<Index> written_by_;  // by block: the last append that was to write it
  Index append_ = 0;
  PoolRows key_rows_;
  PoolRows value_rows_;
  PoolSummaries<Scalar> summaries_;
  Workspace workspace_;
};

}  // namespace dca::detail
