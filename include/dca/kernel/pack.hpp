// From the caller's memory to what the products read: converted to the kernel's scalar, rotated, laid out.
#pragma once

#include "dca/kernel/attention_call.hpp"
#include "dca/kernel/logit_scales.hpp"
#include "dca/kernel/product.hpp"
#include "dca/kernel/transpose.hpp"
#include "dca/kv/key_value_source.hpp"
#include "dca/positions/chunk_part.hpp"
#include "dca/rope/row_rotator.hpp"

namespace dca::detail {

/// So many rows are asked for before they are packed, because they mostly come from memory, and with a stride that
/// hardware does not follow.
inline constexpr Index packed_rows_ahead = 8;

/// A row as numbers of T: as it lies, or decoded into `place`.
template <class E, class T>
EIGEN_ALWAYS_INLINE const T* plain_row(const StorageUnit<E>* row, [[maybe_unused]] Index features,
                                       [[maybe_unused]] T* place) {
  if constexpr (std::is_same_v<E, T>) {
    return row;
  } else {
    decode_row<E>(row, features, place);
    return place;
  }
}

/// A query row, rotated to its position in a part and multiplied by LogitScales, so that its products with keys are
/// logits. `spare` is scratch for one row.
template <class T, class Layout, class Q>
void place_query(const AttentionParams<Layout>& params, RowRotator<T>& rotate, Index position, const Q* query,
                 Index head_dim, T* spare, T* place) {
  const LogitScales scales(params.softmax_scale, params.rope.attention_factor());
  const T scale = static_cast<T>(scales.plain), rotated_scale = static_cast<T>(scales.rotated);
  const Index rotary_dim = params.rope.rotary_dim();
  rotate(position, plain_row<Q>(query, head_dim, spare), head_dim, place);
  for (Index d = 0; d < rotary_dim; ++d) place[d] *= rotated_scale;
  for (Index d = rotary_dim; d < head_dim; ++d) place[d] *= scale;
}

/// Query rows of one sequence and kv_head on their way into panels. `rows` holds a packet of them and one more
/// meanwhile.
template <class T, class Layout, class Q, class O>
struct QueryPacker {
  const AttentionParams<Layout>& params;
  const AttentionCall<T, Q, O>& call;
  RowRotator<T>& rotate;
  T* rows;

  /// Rows [which.first, which.last) of a run, `group` heads a token, as place_query makes them for Part: [head_dim]
  /// [lanes], with zeros for the lanes beyond. Rows up to `end` will be packed after them.
  template <class Part>
  void pack(const QueryRun& run, Index kv_head, Index group, KeyRange which, Index end, Index lanes, T* place) const {
    const Index head_dim = call.query.shape[3];
    const auto row_at = [&](Index row) { return call.query_row(run, row / group, kv_head * group + row % group); };
    for (Index lane = 0; lane < lanes; lane += packet_size<T>) {
      for (Index r = 0; r < packet_size<T>; ++r) {
        const Index row = which.first + lane + r;
        if (row >= which.last) {
          std::fill_n(rows + r * head_dim, head_dim, T{0});
          continue;
        }
        if (row + packed_rows_ahead < end) prefetch(row_at(row + packed_rows_ahead), row_bytes<Q>(head_dim));
        place_query(params, rotate, Part::query_position(params.chunks, run.position + row / group), row_at(row),
                    head_dim, rows + packet_size<T> * head_dim, rows + r * head_dim);
      }
      transpose(rows, head_dim, packet_size<T>, head_dim, place + lane, lanes);
    }
  }
};

/// Calls f(row pointer, key) for each key in [first, last), whichever runs the rows lie in; `run_at(key)` gives runs of
/// rows, of which `bytes` bytes will be read.
template <class RunAt, class F>
EIGEN_ALWAYS_INLINE void for_each_row(Index first, Index last, Index bytes, const RunAt& run_at, F&& f) {
  while (first < last) {
    const auto run = run_at(first);
    const Index end = std::min(last, first + run.count), end_of_run = first + run.count;
    const auto* row = run.data;
    for (; first < end; ++first, row += run.stride) {
      if (first + packed_rows_ahead < end_of_run) prefetch(row + packed_rows_ahead * run.stride, bytes);
      f(row, first);
    }
  }
}

/// Asks for the rows of keys [keys.first, keys.last) and then for their values, `count` more at each call: memory is
/// idle while products keep the processor busy.
template <class Source>
class RowsAhead {
 public:
  RowsAhead(const Source& source, Index sequence, Index kv_head, KeyRange keys)
      : source_(source), sequence_(sequence), kv_head_(kv_head), keys_(keys), values_(keys) {}

  EIGEN_ALWAYS_INLINE void operator()(Index count) {
    for (; count > 0; --count) {
      if (!keys_.empty()) {
        prefetch(source_.keys(sequence_, kv_head_, keys_.first++).data,
                 row_bytes<typename Source::Key>(source_.head_dim()));
      } else if (!values_.empty()) {
        prefetch(source_.values(sequence_, kv_head_, values_.first++).data,
                 row_bytes<typename Source::Value>(source_.v_head_dim()));
      }
    }
  }

 private:
  const Source& source_;
  Index sequence_, kv_head_;
  KeyRange keys_, values_;  // not yet asked for
};

/// Values of keys [first, last) into a tile whose first key is `origin`: per tile of `rows` features,
/// [capacity keys][rows], as multiply_values reads them. `spare` holds a row meanwhile. Returns whether all values are
/// finite.
template <class T, class Source>
bool pack_values(const Source& source, Index sequence, Index kv_head, KeyRange keys, Index origin, Index capacity,
                 T* __restrict tile, T* spare) {
  const Index features = source.v_head_dim();
  T zero{0};  // 0 * x is 0 for finite x, NaN otherwise
  const auto run_at = [&](Index key) { return source.values(sequence, kv_head, key); };
  for_each_row(keys.first, keys.last, row_bytes<typename Source::Value>(features), run_at,
               [&](const auto* stored, Index key) {
                 const T* const row = plain_row<typename Source::Value>(stored, features, spare);
                 zero += (Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>(row, features) * T{0}).sum();
                 for_each_row_tile(features, [&](Index feature, auto rows) {
                   using Features = Eigen::Array<T, rows, 1>;
                   Eigen::Map<Features> packed(tile + feature * capacity + (key - origin) * rows);
                   packed = Eigen::Map<const Features>(row + feature);
                 });
               });
  return zero == T{0};
}

}  // namespace dca::detail
