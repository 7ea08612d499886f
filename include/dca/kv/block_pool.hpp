// A pool of blocks of keys and values, and tables of its blocks.
#pragma once

#include <vector>

#include "dca/kv/placed_rows.hpp"
#include "dca/kv/pool_rows.hpp"
#include "dca/kv/pool_summaries.hpp"

namespace dca {

/// The blocks of a sequence: tokens [b * block_size, (b + 1) * block_size) are in block blocks[b], for b from 0. Owns
/// nothing.
struct BlockTable {
  std::span<const Index> blocks{};
  Index length = 0;  // tokens
};

/// A fixed number of blocks of `block_size` tokens each, any block_size: a block may hold tokens of two chunks. Keys
/// are stored as K, rotated once when they enter, values as V. Blocks are reference-counted; tables belong to the
/// caller or a PagedCache.
///
/// One thread at a time may change a pool; any number may read one that nobody changes.
template <class K, class Placement = ChunkOffset, class V = K>
class BlockPool {
 public:
  using Key = K;
  using Value = V;
  using KeyPlacement = Placement;

  /// Throws std::invalid_argument where a size is out of range, a head_dim does not suit the storage, rotary_dim
  /// exceeds head_dim, or the bytes overflow; std::bad_alloc without memory.
  BlockPool(PlacedKeys<Placement> placed, CacheShape shape, Index blocks, Index block_size)
      : placed_(std::move(placed)), shape_(shape), block_size_(block_size) {
    detail::check_cache_shape<K, V>(shape_);
    detail::check_rotary_dim(placed_, shape_.head_dim);
    if (blocks < 0) detail::fail("blocks", detail::to_text(blocks), "must be at least 0");
    if (block_size < 1) detail::fail("block_size", detail::to_text(block_size), "must be at least 1");
    key_rows_ = detail::PoolRows<K>(shape_.kv_heads, blocks, block_size, shape_.head_dim);
    value_rows_ = detail::PoolRows<V>(shape_.kv_heads, blocks, block_size, shape_.v_head_dim);
    key_rows_.take_memory();
    value_rows_.take_memory();
    if (const Index window = shape_.summary_block; window > 0) {
      if (std::is_same_v<Placement, Unplaced>) {
        detail::fail("summary_block", detail::to_text(window), "must be 0 where keys are held unplaced");
      }
      summaries_ = Summaries(window, shape_.kv_heads, blocks, block_size, shape_.head_dim);
    }
    users_.assign(static_cast<std::size_t>(blocks), 0);
    written_by_.assign(static_cast<std::size_t>(blocks), 0);
    free_.reserve(static_cast<std::size_t>(blocks));
    for (Index block = blocks - 1; block >= 0; --block) free_.push_back(block);
  }

  /// A free block, now with one user. Throws std::invalid_argument where none is free.
  Index take() {
    if (free_.empty()) {
      detail::fail("blocks", "all " + detail::to_text(blocks()) + " are in use", "a block must be given back first");
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

  /// Writes batch b of key [batch, m, kv_heads, head_dim] (unrotated) and value likewise after the tokens of tables[b],
  /// into blocks that the tables name already; the caller then adds m to their lengths. Rank 3 with one table. Throws,
  /// with nothing written, std::bad_alloc without memory, and std::invalid_argument where shapes do not fit, a table is
  /// too short, a block to be written, or read to update a summary, is out of the pool or not in use, or a block to be
  /// written has several users or is in the tables twice.
  template <class Device, class X, class Y>
  void append(const Device& device, std::span<const BlockTable> tables, TensorView<X> key, TensorView<Y> value) {
    const detail::NewRows<std::remove_const_t<X>, std::remove_const_t<Y>> rows(
        key, value, static_cast<Index>(tables.size()), shape_);
    const Index count = rows.key.shape[1];
    ++append_;
    for (const BlockTable& table : tables) check_writable(table, count);
    for (const BlockTable& table : tables) check_summary_blocks(table, count);
    reserve_scratch(device);  // nothing can fail after this
    for (std::size_t b = 0; b < tables.size(); ++b) {
      const std::span<const Index> blocks = tables[b].blocks;
      detail::store_tokens<K, V>(
          device, workspace_, placed_, shape_, rows, static_cast<Index>(b), tables[b].length,
          [&](Index position, Index head) {
            const Index block = blocks[index(position / block_size_)], slot = position % block_size_;
            return detail::TokenPlace<K, V>{key_rows_.place(block, head, slot), value_rows_.place(block, head, slot)};
          },
          [&](Index position) {
            const Index slot = position % block_size_;
            return detail::PoolRows<K>::begins_side(slot) && detail::PoolRows<V>::begins_side(slot);
          });
      if (shape_.summary_block > 0 && count > 0) summarise(device, tables[b], count);
    }
  }

  /// Copies the first `tokens` tokens of a block, with their summaries; they keep their positions. Throws
  /// std::invalid_argument for blocks not in use, where `to` has several users or is `from`, and unless
  /// 0 <= tokens <= block_size.
  void copy_tokens(Index from, Index to, Index tokens) { copy_tokens_from(*this, from, to, tokens); }

  /// As copy_tokens, from a block of another pool, which may have another block_size. Throws also where the pools
  /// differ in shape, summary_block, layout or embedding, and where no block of this pool can begin at the same offset
  /// from a multiple of summary_block as `from`.
  void copy_tokens_from(const BlockPool& other, Index from, Index to, Index tokens) {
    if (&other != this) check_alike(other);
    check_in_use(to);
    other.check_in_use(from);
    check_sole_user(to);
    if (&other == this && from == to) detail::fail("to", detail::to_text(to), "must be another block than from");
    if (const Index most = std::min(block_size_, other.block_size_); tokens < 0 || tokens > most) {
      detail::fail("tokens", detail::to_text(tokens), "must be from 0 to block_size, " + detail::to_text(most));
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
    const Index count = detail::ceil_div(table.length, block_size_);
    for (Index b = 0; b < count; ++b) check_in_use(table.blocks[index(b)]);
    if (summaries_.valid_at_any_place()) return;  // spares each call a second pass over long tables
    for (Index b = 0; b < count; ++b) summaries_.check_place(table.blocks[index(b)], b);
  }

  RowRun<K> keys(const BlockTable& table, Index kv_head, Index first) const {
    return run(key_rows_, table, kv_head, first);
  }
  RowRun<V> values(const BlockTable& table, Index kv_head, Index first) const {
    return run(value_rows_, table, kv_head, first);
  }

  /// Writes mean, least and largest, [3][head_dim], of the keys of those tokens [window * summary_block, (window + 1) *
  /// summary_block) of a table that exist.
  template <class T>
  void read_summary(const BlockTable& table, Index kv_head, Index window, T* place) const {
    detail::KeySummary<T> summary(place, shape_.head_dim);
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
  const PlacedKeys<Placement>& placement() const { return placed_; }
  /// Bytes held for keys, values and summaries.
  Index bytes() const { return key_rows_.bytes() + value_rows_.bytes() + summaries_.bytes(); }

 private:
  using Scalar = detail::CacheScalar<K>;
  using Summaries = detail::PoolSummaries<Scalar>;

  static std::size_t index(Index k) { return static_cast<std::size_t>(k); }

  /// Reserves the scratch memory of an append, for as many threads as the device has.
  template <class Device>
  void reserve_scratch(const Device& device) {
    const Index workers = detail::worker_count(device, std::numeric_limits<Index>::max());
    const Index bytes = std::max(detail::TokenStore<K, V, Placement>::bytes(placed_, shape_), summary_row_bytes());
    workspace_.reserve(workers * bytes + detail::Arena::alignment);
  }

  Index summary_row_bytes() const {
    return detail::round_up(shape_.head_dim * static_cast<Index>(sizeof(Scalar)), detail::Arena::alignment);
  }

  /// Recomputes, from stored keys, the summaries of the windows that the next `count` tokens of the table fall into: a
  /// summary does not depend on how its tokens were appended.
  template <class Device>
  void summarise(const Device& device, const BlockTable& table, Index count) {
    const Index window = shape_.summary_block, length = table.length + count, first_window = table.length / window;
    for (Index b = table.length / block_size_; b < detail::ceil_div(length, block_size_); ++b) {
      summaries_.set_place(table.blocks[index(b)], b);
    }
    const Index tasks = (detail::ceil_div(length, window) - first_window) * shape_.kv_heads;
    const Index workers = detail::worker_count(device, tasks);
    const Index bytes = summary_row_bytes();
    detail::Scratch scratch(device, &workspace_, workers * bytes);
    detail::run_tasks(device, scratch.helpers(), workers, tasks, [&](Index worker, Index task) {
      auto* const row = reinterpret_cast<Scalar*>(scratch.data() + worker * bytes);
      const Index head = task % shape_.kv_heads;
      const auto make = [&](Index first, Index last, Scalar* place) {
        detail::KeySummary<Scalar> summary(place, shape_.head_dim);
        summary.clear();
        const RowRun<K> stored =
            key_rows_.run(table.blocks[index(first / block_size_)], head, first % block_size_, last - first);
        for (Index r = 0; r < stored.count; ++r) {
          RowStorage<K>::decode(stored.row(r), shape_.head_dim, row);
          summary.add(row);
        }
        summary.finish(last - first);
      };
      summaries_.for_each_piece(table.blocks, head, first_window + task / shape_.kv_heads, length, make);
    });
  }

  template <class E>
  RowRun<E> run(const detail::PoolRows<E>& rows, const BlockTable& table, Index kv_head, Index first) const {
    const Index slot = first % block_size_;
    return rows.run(table.blocks[index(first / block_size_)], kv_head, slot,
                    std::min(block_size_ - slot, table.length - first));
  }

  void check_block(Index block) const {
    if (block < 0 || block >= blocks()) {
      detail::fail("block_table", "block " + detail::to_text(block),
                   "must be from 0 to " + detail::to_text(blocks() - 1));
    }
  }
  void check_in_use(Index block) const {
    check_block(block);
    if (users_[index(block)] == 0) {
      detail::fail("block_table", "block " + detail::to_text(block) + " is free", "must be one that is in use");
    }
  }

  void check_holds(const BlockTable& table, Index tokens) const {
    if (table.length < 0 || detail::ceil_div(tokens, block_size_) > static_cast<Index>(table.blocks.size())) {
      detail::fail("block_table", detail::to_text(table.blocks.size()) + " blocks of " + detail::to_text(block_size_),
                   "must hold " + detail::to_text(tokens) + " tokens");
    }
  }

  void check_sole_user(Index block) const {
    if (users_[index(block)] > 1) {
      detail::fail("block_table",
                   "block " + detail::to_text(block) + " has " + detail::to_text(users_[index(block)]) + " users",
                   "a block that is written must have one");
    }
  }

  [[noreturn]] static void fail_twice(Index block) {
    detail::fail("block_table", "block " + detail::to_text(block) + " is listed twice",
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

  void check_alike(const BlockPool& other) const {
    const CacheShape &mine = shape_, &given = other.shape_;
    detail::check_equal("other", "kv_heads", given.kv_heads, "this pool", mine.kv_heads);
    detail::check_equal("other", "head_dim", given.head_dim, "this pool", mine.head_dim);
    detail::check_equal("other", "v_head_dim", given.v_head_dim, "this pool", mine.v_head_dim);
    detail::check_equal("other", "summary_block", given.summary_block, "this pool", mine.summary_block);
    if constexpr (!std::is_same_v<Placement, Unplaced>) {
      detail::check_placed("other", other.placed_, placed_.chunks, placed_.rope, "this pool");
    }
  }

  PlacedKeys<Placement> placed_;
  CacheShape shape_;
  Index block_size_;
  std::vector<Index> users_;  // by block
  std::vector<Index> free_;
  std::vector<Index> written_by_;  // by block: the last append that was to write it
  Index append_ = 0;
  detail::PoolRows<K> key_rows_;
  detail::PoolRows<V> value_rows_;
  Summaries summaries_;
  Workspace workspace_;
};

}  // namespace dca
