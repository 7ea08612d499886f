// From the caller's memory to what the products read: converted to the kernel's scalar, rotated, laid out.
#pragma once

#include "dca/kernel/call/attention_call.hpp"
#include "dca/kernel/call/source_ref.hpp"
#include "dca/kernel/machine/product.hpp"
#include "dca/kernel/machine/row_tables.hpp"
#include "dca/packet/transpose.hpp"
#include "dca/rope/row_rotator.hpp"

namespace dca::detail {

/// So many rows are prefetched before they are packed, because they mostly come from memory, and with a stride that
/// hardware does not follow.
inline constexpr Index packed_rows_ahead = 8;

/// A query row, rotated to its position in a part and multiplied by LogitScales, so that its products with keys are
/// logits. `spare` is scratch for one row.
template <class T>
void place_query(const AttentionParams& params, RowRotator<T>& rotate, Index position, const RowAccess<T>& access,
                 const std::byte* query, Index head_dim, T* spare, T* place) {
  const T scale = static_cast<T>(params.scales.plain), rotated_scale = static_cast<T>(params.scales.rotated);
  const Index rotary_dim = params.rope.rotary_dim();
  rotate(position, plain_row(access, ByteRow{query}, head_dim, spare), head_dim, place);
  multiply_by(rotated_scale, place, rotary_dim);
  multiply_by(scale, place + rotary_dim, head_dim - rotary_dim);
}

/// A key row, decoded, rotated to its place in a part unless it is there already, with the cache's offset. `spare` is
/// scratch for one row.
template <class T>
struct KeyPlacer {
  const AttentionParams& params;
  const SourceRef<T>& source;
  RowRotator<T>& rotate;
  OffsetTurner<T>& offset;
  T* spare;

  void operator()(Index part, Index kv_head, ByteRow row, Index key, T* place) const {
    const Index head_dim = source.head_dim;
    if (source.keys_are_placed) {
      decode_to(source.key, row, head_dim, place);
      if (source.key_offset != nullptr) offset.add(kv_head, params.composition.key_position(part, key), place);
    } else {
      const T* x = plain_row(source.key, row, head_dim, spare);
      if (source.key_offset != nullptr) {
        const T* const more = source.key_offset->template row<T>(kv_head);
        for (Index d = 0; d < head_dim; ++d) spare[d] = x[d] + more[d];
        x = spare;
      }
      rotate(params.composition.key_position(part, key), x, head_dim, place);
    }
  }
};

/// Query rows of one sequence and kv_head on their way into panels. `rows` holds a packet of them and one more
/// meanwhile.
template <class T>
struct QueryPacker {
  const AttentionParams& params;
  const AttentionCall<T>& call;
  RowRotator<T>& rotate;
  T* rows;

  /// Rows [which.first, which.last) of a sequence, `group` heads a token, as place_query makes them for a part:
  /// [head_dim][lanes], with zeros for the lanes beyond. Rows up to `end` will be packed after them.
  void pack(Index part, const QueryTokens& tokens, Index kv_head, Index group, KeyRange which, Index end, Index lanes,
            T* place) const {
    const Index head_dim = call.head_dim;
    const auto row_at = [&](Index row) { return call.query_row(tokens, row / group, kv_head * group + row % group); };
    for (Index lane = 0; lane < lanes; lane += packet_size<T>) {
      for (Index r = 0; r < packet_size<T>; ++r) {
        const Index row = which.first + lane + r;
        if (row >= which.last) {
          std::fill_n(rows + r * head_dim, head_dim, T{0});
          continue;
        }
        if (row + packed_rows_ahead < end) prefetch(row_at(row + packed_rows_ahead), call.query_access.bytes);
        place_query(params, rotate, params.composition.query_position(part, tokens.position + row / group),
                    call.query_access, row_at(row), head_dim, rows + packet_size<T> * head_dim, rows + r * head_dim);
      }
      transpose(rows, head_dim, packet_size<T>, head_dim, place + lane, lanes);
    }
  }
};

/// Calls f(row, key) for each key in [first, last), whichever runs the rows lie in; `run_at(key)` gives the runs.
template <class T, class RunAt, class F>
EIGEN_ALWAYS_INLINE void for_each_row(Index first, Index last, const RowAccess<T>& access, const RunAt& run_at, F&& f) {
  while (first < last) {
    const ByteRows run = run_at(first);
    const Index end = std::min(last, first + run.count), end_of_run = first + run.count;
    ByteRow row{run.data, run.side};
    for (Index token = run.side_token; first < end; ++first, row.data += run.stride) {
      if (first + packed_rows_ahead < end_of_run) prefetch(row.data + packed_rows_ahead * run.stride, access.bytes);
      f(row, first);
      if (++token == access.side_tokens) {
        row.side += run.side_stride;
        token = 0;
      }
    }
  }
}

/// Prefetches the rows of keys [keys.first, keys.last) and then their values, `count` more at each call: memory is idle
/// while products keep the processor busy.
template <class T>
class RowsAhead {
 public:
  RowsAhead(const SourceRef<T>& source, Index sequence, Index kv_head, KeyRange keys)
      : source_(source), sequence_(sequence), kv_head_(kv_head), keys_(keys), values_(keys) {}

  bool done() const { return keys_.empty() && values_.empty(); }

  void operator()(Index count) {
    for (; count > 0 && !keys_.empty(); --count) next(keys_, true, source_.key.bytes);
    for (; count > 0 && !values_.empty(); --count) next(values_, false, source_.value.bytes);
  }

 private:
  void next(KeyRange& left, bool is_key, Index bytes) {
    if (run_.count == 0) {
      run_ = is_key ? source_.keys(sequence_, kv_head_, left.first) : source_.values(sequence_, kv_head_, left.first);
    }
    prefetch(run_.data, bytes);
    run_.data += run_.stride;
    --run_.count;
    if (++left.first == left.last) run_.count = 0;
  }

  const SourceRef<T>& source_;
  Index sequence_, kv_head_;
  KeyRange keys_, values_;  // not yet prefetched
  ByteRows run_;            // what is left of the run at work
};

/// Values of keys [first, last) into a tile whose first key is `origin`: per tile of `rows` features,
/// [capacity keys][rows], as multiply_values reads them. `spare` holds a row meanwhile. Returns whether all values are
/// finite.
template <class T>
bool pack_values(const SourceRef<T>& source, Index sequence, Index kv_head, KeyRange keys, Index origin, Index capacity,
                 T* __restrict tile, T* spare) {
  const Index features = source.v_head_dim;
  NonFinite<T> non_finite;
  const auto run_at = [&](Index key) { return source.values(sequence, kv_head, key); };
  for_each_row(keys.first, keys.last, source.value, run_at, [&](ByteRow stored, Index key) {
    const T* const row = plain_row(source.value, stored, features, spare);
    non_finite.look(row, features);
    for_each_row_tile(features, [&](Index feature, std::size_t kind) {
      constexpr int full = register_tile.rows;
      const Index rows = tile_rows[kind];
      T* const place = tile + feature * capacity + (key - origin) * rows;
      if (rows == full) {
        std::copy_n(row + feature, full, place);
      } else {
        std::copy_n(row + feature, rows, place);
      }
    });
  });
  return !non_finite.any();
}

}  // namespace dca::detail
