// A call, cut into tasks.
#pragma once

#include <algorithm>

#include "dca/device/scratch.hpp"
#include "dca/kernel/plan/row_tasks.hpp"

namespace dca::detail {

/// Keys per task where a sequence is cut along its keys: places fixed by the number of keys alone, not by how many
/// threads or sequences there are, so that the bits are fixed as well. At most 64 pieces, so that partial states stay
/// few.
constexpr Index keys_per_piece(Index keys) {
  constexpr Index least = 1024, most_pieces = 64;
  return std::max(least, round_up(ceil_div(keys, most_pieces), key_tile));
}

/// Query rows [first_row, last_row) of a sequence, for each of its kv_heads: a task with packed products.
struct PackedTask {
  Index sequence;
  Index first_row;
  Index last_row;
};

/// Sizes of a call that decide how it is cut.
struct CallSizes {
  Index sequences;
  Index kv_heads;
  Index group;      // heads per kv_head
  Index row_bytes;  // of a query row and its sums, as they are multiplied
  Index workers;
};

/// What a call has to do. Sequences of few rows are cut along their keys into pieces, the others along their rows.
///
/// Made in two steps, because its tables lie in scratch memory of which it tells the size: count, then fill.
class CallPlan {
 public:
  /// Rows of a task are few where `choices` cut them into many panels.
  static CallPlan count(const CallSizes& sizes, LaneShape lanes, QueryTokensOf tokens_of,
                        const Composition& composition, const BlockChoices& choices) {
    const auto [sequences, kv_heads, group, row_bytes, workers] = sizes;
    CallPlan plan;
    plan.sequences_ = sequences;
    plan.group_ = group;
    plan.packet_ = lanes.packet;
    Index packed_rows = 0, packed_sequences = 0;
    QueryTokens alike{};
    bool all_alike = true;
    for (Index s = 0; s < sequences; ++s) {
      const QueryTokens tokens = tokens_of(s);
      const Index rows = plan.rows_of(tokens);
      if (plan.is_split(tokens)) continue;
      packed_rows = checked_sum("query", packed_rows, rows);
      if (packed_sequences++ == 0) alike = tokens;
      all_alike = all_alike && tokens.count == alike.count && tokens.position == alike.position;
    }
    packed_rows = checked_product("query", packed_rows, kv_heads);
    const Index most = most_task_rows(row_bytes, lanes.panel);
    const Index shared = shared_task_rows(packed_rows, workers, lanes.panel);
    plan.task_rows_ = workers == 1 ? most : std::min(most, shared);
    constexpr Index few_rows = 15 * packing_rows;  // tasks of fewer would spend a fifteenth of the time on packing
    if (workers > 1 && packed_sequences > 0 && all_alike && plan.task_rows_ < few_rows && choices.most_edges(1) == 0) {
      plan.task_rows_ = most;
      plan.task_unit_ = lanes.packet;
      plan.task_work_ = plan.even_tasks(alike, composition).work_of_tasks(packed_sequences * kv_heads, workers);
    }
    const auto lanes_lost = [&] { return choices.most_edges(plan.task_rows_ / plan.group_ + 1) * lanes.packet; };
    while (plan.task_rows_ > lanes.panel && plan.task_rows_ < lanes_lost()) {
      plan.task_rows_ = round_up(plan.task_rows_ / 2, lanes.panel);
    }
    for (Index s = 0; s < sequences; ++s) {
      const QueryTokens tokens = tokens_of(s);
      const Index rows = plan.rows_of(tokens);
      if (rows == 0) continue;
      if (!plan.is_split(tokens)) {
        plan.for_each_task(tokens, composition, [&](Index first, Index last) {
          ++plan.packed_count_;
          plan.largest_packed_ = std::max(plan.largest_packed_, last - first);
        });
      } else {
        plan.piece_count_ += pieces(tokens);
        const Index streamed = plan.streamed_of(rows);
        plan.largest_piece_ = std::max(plan.largest_piece_, rows);
        plan.largest_streamed_ = std::max(plan.largest_streamed_, streamed);
        plan.largest_packed_ = std::max(plan.largest_packed_, rows - streamed);
      }
    }
    return plan;
  }

  /// Takes its tables from `arena`; of an arena without memory, only the amount.
  void take_tables(Arena& arena) {
    packed_ = arena.take<PackedTask>(packed_count_);
    first_piece_ = arena.take<Index>(piece_count_ > 0 ? sequences_ + 1 : 0);
  }

  /// Fills the tables. Of packed tasks those with the most to do come first, so that the threads finish together.
  void fill(QueryTokensOf tokens_of, const Composition& composition) {
    PackedTask* next = packed_;
    Index piece = 0;
    for (Index s = 0; s < sequences_; ++s) {
      const QueryTokens tokens = tokens_of(s);
      const Index rows = rows_of(tokens);
      const bool split = is_split(tokens);
      if (piece_count_ > 0) first_piece_[s] = piece;
      if (split) {
        if (rows > 0) piece += pieces(tokens);
        continue;
      }
      for_each_task(tokens, composition, [&](Index first, Index last) { *next++ = {s, first, last}; });
    }
    if (piece_count_ > 0) first_piece_[sequences_] = piece;
    const auto cost = [&](const PackedTask& task) {
      return static_cast<double>(task.last_row - task.first_row) *
             static_cast<double>(tokens_of(task.sequence).position + task.last_row / group_);
    };
    const auto before = [&](const PackedTask& a, const PackedTask& b) {
      const double cost_a = cost(a), cost_b = cost(b);
      if (cost_a != cost_b) return cost_a > cost_b;
      return a.sequence != b.sequence ? a.sequence < b.sequence : a.first_row < b.first_row;
    };
    // Tasks are few: std::sort would cost more to compile than it saves.
    std::make_heap(packed_, packed_ + packed_count_, before);
    std::sort_heap(packed_, packed_ + packed_count_, before);
  }

  Index packed_count() const { return packed_count_; }
  const PackedTask& packed(Index k) const { return packed_[k]; }
  /// Rows of the largest task whose products are packed, pieces of keys among them; 0 where there is none.
  Index largest_packed() const { return largest_packed_; }

  /// Pieces of keys of all sequences with few rows.
  Index piece_count() const { return piece_count_; }
  /// How many of such a sequence's rows, the last ones, meet their keys through streamed products: all, or those too
  /// few for a packet of their own. One of 16 lanes takes longer than streaming 8 rows, one of 8 no longer than any.
  Index streamed_of(Index rows) const {
    if (is_streamed(rows)) return rows;
    const Index rest = rows % packet_;
    return rest <= packet_ - 8 ? rest : 0;
  }
  /// Most rows of such a sequence, and of those whose products are streamed.
  Index largest_piece() const { return largest_piece_; }
  Index largest_streamed() const { return largest_streamed_; }
  /// The sequence that a piece belongs to.
  Index sequence_of(Index piece) const {
    return std::upper_bound(first_piece_, first_piece_ + sequences_ + 1, piece) - first_piece_ - 1;
  }
  Index first_piece(Index sequence) const { return first_piece_[sequence]; }

  /// Keys of piece `k` of a sequence, counted from its first.
  static KeyRange keys_of(const QueryTokens& tokens, Index k) {
    const Index keys = tokens.position + tokens.count, step = keys_per_piece(keys);
    return {k * step, std::min(keys, (k + 1) * step)};
  }

 private:
  Index rows_of(const QueryTokens& tokens) const { return tokens.count * group_; }

  /// Whether a sequence is cut along its keys. Packed products of a single piece need no state to be merged.
  bool is_split(const QueryTokens& tokens) const {
    const Index rows = rows_of(tokens);
    return is_streamed(rows) || (rows <= most_split_rows && pieces(tokens) > 1);
  }

  EvenTasks even_tasks(const QueryTokens& tokens, const Composition& composition) const {
    return {composition, rows_of(tokens), group_, tokens.position, task_unit_, task_rows_};
  }

  /// The packed tasks of a sequence: body(first row, last row).
  template <class Body>
  void for_each_task(const QueryTokens& tokens, const Composition& composition, const Body& body) const {
    const EvenTasks even = even_tasks(tokens, composition);
    const Index rows = rows_of(tokens);
    for (Index first = 0, task = 0; first < rows; ++task) {
      const Index last =
          task_work_.most > 0 ? even.end(first, task_work_.of(task)) : std::min(first + task_rows_, rows);
      body(first, last);
      first = last;
    }
  }

  static Index pieces(const QueryTokens& tokens) {
    const Index keys = tokens.position + tokens.count;
    return ceil_div(keys, keys_per_piece(keys));
  }

  Index sequences_ = 0, group_ = 1;
  Index packet_ = 1;     // lanes
  Index task_rows_ = 1;  // of packed tasks, at most
  Index task_unit_ = 1;
  TaskWork task_work_;  // at most; without a limit they are cut by their rows alone
  Index packed_count_ = 0, largest_packed_ = 0, piece_count_ = 0, largest_piece_ = 0, largest_streamed_ = 0;
  PackedTask* packed_ = nullptr;
  Index* first_piece_ = nullptr;  // by sequence, and one past the last
};

}  // namespace dca::detail
