// From the caller's memory to what the products read: converted to the kernel's scalar, rotated, laid out.
#pragma once

#include "dca/kernel/product.hpp"
#include "dca/kernel/workers.hpp"
#include "dca/kv/key_value_source.hpp"
#include "dca/positions/chunk_part.hpp"
#include "dca/rope/rotate.hpp"

namespace dca::detail {

/// Turns and converts rows of one width, with the angles of the last position kept. Rotated features come out with the
/// first of each pair in front, then the second of each: the same order for queries and keys, whatever the pairing, so
/// that their products do not notice.
template <class T>
class RowRotator {
 public:
  RowRotator(const RotaryEmbedding& rope, Arena& arena)
      : rope_(rope),
        pairs_(rope.rotary_dim() / 2),
        angles_(rope, arena.take<double>(RotaryAngles::workspace(rope))),
        cosine_(arena.take<T>(pairs_)),
        sine_(arena.take<T>(pairs_)) {}

  template <class X>
  void operator()(Index position, const X* x, Index features, T* __restrict y) {
    if (!known_ || position != position_) {
      angles_(position, cosine_, sine_);
      position_ = position;
      known_ = true;
    }
    if (rope_.pairing() == RopePairing::half) {
      turn_pairs<1, 1>(x, pairs_, cosine_, sine_, y, pairs_, pairs_);
    } else {
      turn_pairs<2, 1>(x, 1, cosine_, sine_, y, pairs_, pairs_);
    }
    for (Index d = 2 * pairs_; d < features; ++d) y[d] = static_cast<T>(x[d]);
  }

 private:
  const RotaryEmbedding& rope_;
  Index pairs_;
  RotaryAngles angles_;
  T* cosine_;
  T* sine_;
  Index position_ = 0;
  bool known_ = false;
};

/// Calls f(row pointer, key) for each key in [first, last), whichever runs the rows lie in; `run_at(key)` gives runs.
template <class RunAt, class F>
EIGEN_ALWAYS_INLINE void for_each_row(Index first, Index last, const RunAt& run_at, F&& f) {
  while (first < last) {
    const auto run = run_at(first);
    const Index end = std::min(last, first + run.count);
    const auto* row = run.data;
    for (; first < end; ++first, row += run.stride) f(row, first);
  }
}

/// Values of keys [first, last) into a tile whose first key is `origin`: per tile of `rows` features,
/// [capacity keys][rows], as multiply_values reads them. Returns whether all values are finite.
template <class T, class Source>
bool pack_values(const Source& source, Index batch, Index kv_head, KeyRange keys, Index origin, Index capacity,
                 T* __restrict tile) {
  constexpr int max_rows = register_tile.rows;
  const Index features = source.v_head_dim();
  T zeros[max_rows] = {};  // 0 * x is 0 for finite x, NaN otherwise
  const auto run_at = [&](Index key) { return source.values(batch, kv_head, key); };
  for_each_row(keys.first, keys.last, run_at, [&](const auto* row, Index key) {
    for_each_row_tile(features, [&](Index feature, auto rows) {
      T* __restrict const place = tile + feature * capacity + (key - origin) * rows;
      for (int r = 0; r < rows; ++r) {
        const T value = static_cast<T>(row[feature + r]);
        place[r] = value;
        zeros[r] += value * T{0};
      }
    });
  });
  T sum{0};
  for (const T zero : zeros) sum += zero;
  return sum == T{0};
}

}  // namespace dca::detail
