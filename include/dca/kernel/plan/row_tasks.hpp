// How many query rows share a packed tile.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <limits>

#include "dca/kernel/plan/panels.hpp"

namespace dca::detail {

/// Packing a tile of keys and values takes about as long as the products of so many rows with it.
inline constexpr Index packing_rows = 25;

/// Rows that share a packed tile, at most. More rows pack less often, but a task's queries and sums pass through the
/// cache once per key tile: 12 bytes per 256 FLOPs in float. L3 sustains this unless other cores contend: allow 3 x L2,
/// 1/2 to 2 MiB.
inline Index most_task_rows(Index row_bytes, Index panel) {
  const Index task_bytes = std::clamp<Index>(Eigen::l2CacheSize() * 3, Index{1} << 19, Index{1} << 21);
  return std::clamp<Index>(task_bytes / row_bytes / panel, 1, 128) * panel;
}

/// The same where several workers share the `total_rows` of all sequences and kv_heads: four tasks for each worker, or
/// less where that would not be worth the packing.
inline Index shared_task_rows(Index total_rows, Index workers, Index panel) {
  constexpr Index worthwhile_rows = 128;
  return round_up(std::max(ceil_div(total_rows, 4 * workers), worthwhile_rows), panel);
}

/// Work of a sequence's tasks at most, in the order of their rows: the first `small` ones are small, a quarter of the
/// others.
struct TaskWork {
  double most = 0;  // 0: no limit
  Index small = 0;

  static constexpr double small_share = 0.25;
  double of(Index task) const { return task < small ? small_share * most : most; }
};

/// Where rows are few, packing is much of the time: then a sequence is cut into as few tasks as keep the workers busy,
/// of different lengths that take equally long. Of four workers and more one is often held up, and the others would
/// wait for it: where they have a task or two each, and it costs little, there are small ones to do meanwhile. Small
/// are those of the first rows, which see few keys and so pack little. Work is counted in products of a row and a key.
class EvenTasks {
 public:
  /// Of `rows` rows, `group` for each position from `position` on, in tasks of multiples of `unit` rows, at most
  /// `most`.
  EvenTasks(const Composition& composition, Index rows, Index group, Index position, Index unit, Index most)
      : composition_(composition), rows_(rows), positions_{position, group}, unit_(unit), most_(most) {}

  /// How much work tasks should be, where `sequences` are cut alike and `workers` share the tasks.
  TaskWork work_of_tasks(Index sequences, Index workers) const {
    const Index fewest = ceil_div(rows_, most_);
    double best = std::numeric_limits<double>::infinity();
    Index tasks = fewest;
    for (Index b = fewest; b <= std::max(fewest, workers); ++b) {
      const double time = static_cast<double>(ceil_div(sequences * b, workers)) * average_work(b);
      if (time < 0.99 * best) {
        best = time;
        tasks = b;
      }
    }
    constexpr Index many_workers = 4, few_each = 2;
    constexpr double worthwhile = 1.0 / 16;
    // As many small ones as others are a fifth of the work and, of a triangle, 0.45 of the rows; each packs the keys of
    // two thirds of them.
    const double packed_by_small = static_cast<double>(positions_.first) + 0.3 * positions();
    const bool cheap = static_cast<double>(tasks * packing_rows) * packed_by_small < worthwhile * work(0, rows_);
    const bool useful = workers >= many_workers && sequences * tasks <= few_each * workers;
    return evened(tasks, useful && cheap ? tasks : 0);
  }

  /// Where a task of at most so much work ends that starts with row `first`. It has one unit of rows at least.
  Index end(Index first, double most_work) const {
    const Index most_units = ceil_div(std::min(most_, rows_ - first), unit_);
    Index units = 1;
    for (auto step = static_cast<Index>(std::bit_floor(static_cast<std::size_t>(most_units))); step > 0; step /= 2) {
      if (units + step <= most_units && work(first, last_of(first, units + step)) <= most_work) units += step;
    }
    return last_of(first, units);
  }

 private:
  static constexpr Index size(KeyRange keys) { return keys.empty() ? 0 : keys.last - keys.first; }

  Index last_of(Index first, Index units) const { return std::min(first + units * unit_, rows_); }

  /// Rows from first on before last. Between the two the keys that a row sees become more, or fewer, evenly.
  double work(Index first, Index last) const {
    constexpr Index row_overhead = 36;  // queries are packed, lanes masked, results written
    Index ends = 2 * row_overhead, packed = 0;
    for (Index part = 0; part < composition_.parts(); ++part) {
      const KeyRange at_first = composition_.keys(part, positions_.at(first));
      const KeyRange at_last = composition_.keys(part, positions_.at(last - 1));
      ends += size(at_first) + size(at_last);
      packed += size(hull(at_first, at_last));
    }
    return static_cast<double>(last - first) * static_cast<double>(ends) / 2 +
           static_cast<double>(packing_rows) * static_cast<double>(packed);
  }

  double positions() const { return static_cast<double>(ceil_div(rows_, positions_.group)); }

  /// Of `tasks` tasks whose ends lie as those of a causal triangle's even tasks do.
  double average_work(Index tasks) const {
    const double b = static_cast<double>(tasks), all = work(0, rows_);
    const double packed_again = (b - 1) * static_cast<double>(positions_.first) + (2 * b / 3 - 0.5) * positions();
    return (all + (tasks > 1 ? static_cast<double>(packing_rows) * packed_again : 0)) / b;
  }

  /// The least work that is enough for `tasks` tasks and `small` small ones, or a little more.
  TaskWork evened(Index tasks, Index small) const {
    const auto enough = [&](double most) {
      const TaskWork limit{most, small};
      Index row = 0;
      for (Index b = 0; b < tasks + small && row < rows_; ++b) row = end(row, limit.of(b));
      return row >= rows_;
    };
    const double all = work(0, rows_);
    double low = all / (static_cast<double>(tasks) + TaskWork::small_share * static_cast<double>(small));
    double high = std::min(2 * low, all);
    if (!enough(high)) high = all;
    constexpr int steps = 6;
    for (int step = 0; step < steps; ++step) {
      const double middle = (low + high) / 2;
      (enough(middle) ? high : low) = middle;
    }
    return {high, small};
  }

  const Composition& composition_;
  Index rows_;
  RowPositions positions_;
  Index unit_, most_;
};

}  // namespace dca::detail
