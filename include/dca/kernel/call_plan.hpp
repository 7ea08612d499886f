// A call, cut into tasks.
#pragma once

#include <algorithm>

#include "dca/device/scratch.hpp"
#include "dca/kernel/panels.hpp"
#include "dca/kernel/streamed_block.hpp"

namespace dca::detail {

/// Rows that share a packed tile. More rows pack less often: a tile costs about as much as 50 rows' products with it.
/// But a block's queries and sums pass through the cache once per key tile, 12 bytes per 256 FLOPs in float, which the
/// second-level cache delivers with ease and the third-level one just so: they may take one and a half times the second
/// (and 1/2 to 2 MiB). Where there would not be four tasks for each worker rows are fewer, but worth the packing.
/// `total_rows` are those of all sequences and kv_heads.
template <class T>
Index choose_block_rows(Index total_rows, Index row_features, Index workers) {
  const Index block_bytes = std::clamp<Index>(Eigen::l2CacheSize() / 2 * 3, Index{1} << 19, Index{1} << 21);
  constexpr Index worthwhile_rows = 128;
  constexpr Index unit = panel_rows<T>;
  const Index most =
      std::clamp<Index>(block_bytes / (row_features * static_cast<Index>(sizeof(T))) / unit, 1, 64) * unit;
  if (workers == 1) return most;
  return std::min(most, round_up(std::max(ceil_div(total_rows, 4 * workers), worthwhile_rows), unit));
}

/// Rows of a sequence and kv_head up to which the streamed products are the faster ones.
inline constexpr Index most_streamed_rows = 16;

/// Keys per task where products are streamed: places fixed by the number of keys alone, not by how many threads or
/// sequences there are, so that the bits are fixed as well. At most 64 pieces, so that partial states stay few.
constexpr Index streamed_keys_per_task(Index keys) {
  constexpr Index least = 1024, most_pieces = 64;
  return std::max(least, round_up(ceil_div(keys, most_pieces), key_tile));
}

/// Query rows [first_row, last_row) of a sequence, for each of its kv_heads: a task with packed products.
struct PackedTask {
  Index sequence;
  Index first_row;
  Index last_row;
};

/// What a call has to do. Sequences of few rows are cut along their keys, the others along their rows.
///
/// Made in two steps, because its tables lie in scratch memory of which it tells the size: count, then fill.
class CallPlan {
 public:
  /// `runs(sequence)` gives the queries of a sequence, `group` the heads per kv_head. Rows of a task are few where
  /// `choices` cut them into many panels.
  template <class T, class Runs, class Choices>
  static CallPlan count(std::type_identity<T>, Index sequences, Index group, const Runs& runs, Index row_features,
                        Index workers, Index kv_heads, const Choices& choices) {
    CallPlan plan;
    plan.sequences_ = sequences;
    plan.group_ = group;
    Index packed_rows = 0;
    for (Index s = 0; s < sequences; ++s) {
      const Index rows = plan.rows_of(runs(s));
      if (rows > most_streamed_rows) packed_rows = checked_sum("query", packed_rows, rows);
    }
    plan.block_rows_ = choose_block_rows<T>(checked_product("query", packed_rows, kv_heads), row_features, workers);
    const auto lanes_lost = [&] { return choices.most_edges(plan.block_rows_ / group + 1) * packet_size<T>; };
    while (plan.block_rows_ > panel_rows<T> && plan.block_rows_ < lanes_lost()) {
      plan.block_rows_ = round_up(plan.block_rows_ / 2, panel_rows<T>);
    }
    for (Index s = 0; s < sequences; ++s) {
      const QueryRun run = runs(s);
      const Index rows = plan.rows_of(run);
      if (rows == 0) continue;
      if (rows > most_streamed_rows) {
        plan.packed_count_ += ceil_div(rows, plan.block_rows_);
        plan.packed_rows_ = std::min(plan.block_rows_, std::max(plan.packed_rows_, rows));
      } else {
        plan.streamed_count_ += pieces(run);
        plan.streamed_rows_ = std::max(plan.streamed_rows_, rows);
      }
    }
    return plan;
  }

  /// Takes its tables from `arena`; of an arena without memory, only the amount.
  void take_tables(Arena& arena) {
    packed_ = arena.take<PackedTask>(packed_count_);
    first_piece_ = arena.take<Index>(streamed_count_ > 0 ? sequences_ + 1 : 0);
  }

  /// Fills the tables. Of packed tasks those with the most to do come first, so that the threads finish together.
  template <class Runs>
  void fill(const Runs& runs) {
    PackedTask* next = packed_;
    Index piece = 0;
    for (Index s = 0; s < sequences_; ++s) {
      const QueryRun run = runs(s);
      const Index rows = rows_of(run);
      const bool packed = rows > most_streamed_rows;
      if (streamed_count_ > 0) first_piece_[s] = piece;
      if (rows > 0 && !packed) piece += pieces(run);
      if (!packed) continue;
      for (Index first = 0; first < rows; first += block_rows_) {
        *next++ = {s, first, std::min(first + block_rows_, rows)};
      }
    }
    if (streamed_count_ > 0) first_piece_[sequences_] = piece;
    const auto cost = [&](const PackedTask& task) {
      return static_cast<double>(task.last_row - task.first_row) *
             static_cast<double>(runs(task.sequence).position + task.last_row / group_);
    };
    std::sort(packed_, packed_ + packed_count_, [&](const PackedTask& a, const PackedTask& b) {
      const double cost_a = cost(a), cost_b = cost(b);
      if (cost_a != cost_b) return cost_a > cost_b;
      return a.sequence != b.sequence ? a.sequence < b.sequence : a.first_row < b.first_row;
    });
  }

  Index packed_count() const { return packed_count_; }
  const PackedTask& packed(Index k) const { return packed_[k]; }
  /// Rows of the largest packed task.
  Index packed_rows() const { return packed_rows_; }

  /// Pieces of keys of all sequences with few rows.
  Index streamed_count() const { return streamed_count_; }
  /// Most rows of such a sequence.
  Index streamed_rows() const { return streamed_rows_; }
  /// The sequence that a piece belongs to.
  Index sequence_of(Index piece) const {
    return std::upper_bound(first_piece_, first_piece_ + sequences_ + 1, piece) - first_piece_ - 1;
  }
  Index first_piece(Index sequence) const { return first_piece_[sequence]; }

  /// Keys of piece `k` of a sequence, counted from its first.
  static KeyRange keys_of(const QueryRun& run, Index k) {
    const Index keys = run.position + run.count, step = streamed_keys_per_task(keys);
    return {k * step, std::min(keys, (k + 1) * step)};
  }

 private:
  Index rows_of(const QueryRun& run) const { return run.count * group_; }

  static Index pieces(const QueryRun& run) {
    const Index keys = run.position + run.count;
    return ceil_div(keys, streamed_keys_per_task(keys));
  }

  Index sequences_ = 0, group_ = 1, block_rows_ = 1;
  Index packed_count_ = 0, packed_rows_ = 0, streamed_count_ = 0, streamed_rows_ = 0;
  PackedTask* packed_ = nullptr;
  Index* first_piece_ = nullptr;  // by sequence, and one past the last
};

}  // namespace dca::detail
