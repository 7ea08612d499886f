// The streamed products: a few query rows against keys and values where they lie.
#pragma once

#include "dca/kernel/attention_call.hpp"
#include "dca/kernel/choices.hpp"
#include "dca/kernel/online_softmax.hpp"
#include "dca/kernel/pack.hpp"
#include "dca/kernel/streamed_product.hpp"
#include "dca/kernel/tiles.hpp"

namespace dca::detail {

/// What a few rows have come to after some of their keys: sums [rows][features], features whole packets, and the state
/// of each row's softmax.
template <class T>
struct StreamedState {
  T* sums;
  T* max;
  T* total;
  Index features;

  static Index size(Index rows, Index features) { return rows * (features + 2); }
  StreamedState(T* memory, Index rows, Index width)
      : sums(memory), max(memory + rows * width), total(max + rows), features(width) {}
};

template <class T>
constexpr Index whole_packets(Index features) {
  return round_up(features, packet_size<T>);
}

/// All query rows of one sequence and kv_head against some of its keys, as the tile loop drives it. Few rows cannot pay
/// for packing: each key is read once, from storage, for all heads of the group and all queries, and so is each value.
/// Keys that must be rotated, features that are not whole packets and storage without a reader pass through a tile of
/// T.
///
/// A pass serves up to 4 rows, softmaxes run along the keys. The bits of a row depend on the queries of its own call
/// and sequence, which decide what shares a pass, and on nothing of other sequences or threads.
template <class T, class Layout, class Source, class Q, class O, class Choices, ChunkPart... Parts>
class StreamedBlock {
 public:
  using Key = typename Source::Key;
  using Value = typename Source::Value;
  /// Hardware starts a stream anew for the keys and for the values of each tile: more than the packed products take.
  static constexpr Index tile_keys = 512;

  /// Takes from `arena` what `rows` rows need; of an arena without memory, only the amount.
  StreamedBlock(const AttentionParams<Layout>& params, const Source& source, const AttentionCall<T, Q, O>& call,
                const Choices& choices, Index rows, Arena& arena)
      : params_(params),
        source_(source),
        call_(call),
        choices_(choices),
        group_(call.query.shape[2] / source.kv_heads()),
        head_dim_(source.head_dim()),
        v_head_dim_(source.v_head_dim()),
        rotator_(params.rope, arena) {
    const Index key_width = whole_packets<T>(head_dim_), value_width = whole_packets<T>(v_head_dim_);
    ranges_ = arena.take<KeyRange>(rows);
    queries_ = arena.take<T>(rows * key_width);
    scores_ = arena.take<T>(streamed_rows * score_stride);
    tile_sums_ = arena.take<T>(streamed_rows * value_width);
    key_rows_ = arena.take<const void*>(tile_keys + rows_ahead);
    value_rows_ = arena.take<const void*>(tile_keys + rows_ahead);
    keys_ = arena.take<T>(keys_are_direct() ? 0 : tile_keys * key_width);
    values_ = arena.take<T>(values_are_direct() ? 0 : tile_keys * value_width);
    spare_ = arena.take<T>(head_dim_);
  }

  /// Attention over the keys of a sequence and kv_head in `limit`, through all parts, into `state`.
  void attend(Index sequence, const QueryRun& run, Index kv_head, KeyRange limit, const StreamedState<T>& state) {
    sequence_ = sequence;
    run_ = run;
    kv_head_ = kv_head;
    rows_ = run.count * group_;
    state_ = &state;
    std::fill_n(state.max, rows_, -std::numeric_limits<T>::infinity());
    std::fill_n(state.total, rows_, T{0});
    std::fill_n(state.sums, rows_ * state.features, T{0});
    visit_tiles<Parts...>(*this, limit);
  }

  /// Of the tile loop: queries take their places for Part; the keys that any of them sees.
  template <class Part>
  KeyRange begin_part(KeyRange limit) {
    KeyRange all{0, 0};
    for (Index row = 0; row < rows_; ++row) {
      ranges_[row] = intersection(Part::keys(params_.chunks, run_.position + row / group_), limit);
      all = hull(all, ranges_[row]);
    }
    if (all.empty()) return all;
    const Index width = whole_packets<T>(head_dim_);
    for (Index row = 0; row < rows_; ++row) {
      const Index token = row / group_;
      T* const place = queries_ + row * width;
      place_query(params_, rotator_, Part::query_position(params_.chunks, run_.position + token),
                  call_.query_row(run_, token, kv_head_ * group_ + row % group_), head_dim_, place);
      std::fill(place + head_dim_, place + width, T{0});
    }
    return all;
  }

  /// Of the tile loop: the rows meet the keys that they see among those of a tile, or what they chose of them.
  template <class Part>
  void visit_tile(KeyRange tile, Index) {
    if constexpr (Choices::template selects<Part>) {
      const BlockSet chosen = choices_.set(choices_.group_of(sequence_, run_.position), kv_head_, tile);
      for (KeyRange run = chosen.first_run(tile); !run.empty(); run = chosen.first_run(tile)) {
        visit_run<Part>(run);
        tile.first = run.last;
      }
    } else {
      visit_run<Part>(tile);
    }
  }

 private:
  template <class Part>
  void visit_run(KeyRange tile) {
    find_keys<Part>(tile);
    find_values(tile);
    for (Index row = 0; row < rows_; row += streamed_rows) {
      with_count<streamed_rows>(static_cast<int>(std::min<Index>(streamed_rows, rows_ - row)),
                                [&](auto rows) { visit<rows>(row, tile); });
      key_bytes_ahead_ = value_bytes_ahead_ = 0;  // the others find everything in cache
    }
  }

  static constexpr Index score_stride = tile_keys + 64 / static_cast<Index>(sizeof(T));

  bool keys_are_direct() const {
    return has_placed_keys<Source> && RowReader<T, Key>::direct && head_dim_ % packet_size<T> == 0;
  }
  bool values_are_direct() const { return RowReader<T, Value>::direct && v_head_dim_ % packet_size<T> == 0; }

  /// Calls f(first row, stride, count, key of the first) for the runs of a tile's rows.
  template <class RunAt, class F>
  static void for_each_run(KeyRange tile, const RunAt& run_at, F&& f) {
    for (Index first = tile.first; first < tile.last;) {
      const auto run = run_at(first);
      const Index count = std::min(run.count, tile.last - first);
      f(run.data, run.stride, count, first);
      first += count;
    }
  }

  /// Pointers to the rows of a tile, and to those that follow it as far as they are asked for ahead.
  template <class RunAt>
  void point_to_rows(KeyRange tile, const RunAt& run_at, const void** rows) const {
    const KeyRange wanted{tile.first, std::min(source_.length(sequence_), tile.last + rows_ahead)};
    for_each_run(wanted, run_at, [&](const auto* row, Index stride, Index count, Index key) {
      for (Index k = 0; k < count; ++k) rows[key - tile.first + k] = row + k * stride;
    });
    std::fill(rows + (wanted.last - tile.first), rows + (tile.last - tile.first) + rows_ahead, rows[0]);
  }

  /// Long rows are asked for ahead; short ones hardware follows as well, and asking costs more than it brings.
  static Index worth_asking(Index bytes) { return bytes >= 512 ? bytes : 0; }

  template <class Part>
  void find_keys(KeyRange tile) {
    const auto run_at = [&](Index key) { return source_.keys(sequence_, kv_head_, key); };
    key_bytes_ahead_ = 0;
    if (keys_are_direct()) {
      key_bytes_ahead_ = worth_asking(row_bytes<Key>(head_dim_));
      return point_to_rows(tile, run_at, key_rows_);
    }
    const Index width = whole_packets<T>(head_dim_);
    for_each_row(tile.first, tile.last, row_bytes<Key>(head_dim_), run_at, [&](const auto* row, Index key) {
      T* const place = keys_ + (key - tile.first) * width;
      if constexpr (has_placed_keys<Source>) {
        RowStorage<Key>::decode(row, head_dim_, place);
      } else {
        rotator_(Part::key_position(params_.chunks, key), plain_row<Key>(row, head_dim_, spare_), head_dim_, place);
      }
      std::fill(place + head_dim_, place + width, T{0});
      key_rows_[key - tile.first] = place;
    });
    std::fill_n(key_rows_ + (tile.last - tile.first), rows_ahead, key_rows_[0]);
  }

  void find_values(KeyRange tile) {
    const auto run_at = [&](Index key) { return source_.values(sequence_, kv_head_, key); };
    value_bytes_ahead_ = 0;
    if (values_are_direct()) {
      value_bytes_ahead_ = worth_asking(row_bytes<Value>(v_head_dim_));
      return point_to_rows(tile, run_at, value_rows_);
    }
    const Index width = whole_packets<T>(v_head_dim_);
    for_each_row(tile.first, tile.last, row_bytes<Value>(v_head_dim_), run_at, [&](const auto* row, Index key) {
      T* const place = values_ + (key - tile.first) * width;
      RowStorage<Value>::decode(row, v_head_dim_, place);
      std::fill(place + v_head_dim_, place + width, T{0});
      value_rows_[key - tile.first] = place;
    });
    std::fill_n(value_rows_ + (tile.last - tile.first), rows_ahead, value_rows_[0]);
  }

  /// Rows [row, row + Rows) meet their keys of a tile.
  template <int Rows>
  void visit(Index row, KeyRange tile) {
    KeyRange seen[Rows], any{0, 0}, all = tile;
    for (int r = 0; r < Rows; ++r) {
      seen[r] = intersection(ranges_[row + r], tile);
      any = hull(any, seen[r]);
      all = intersection(all, seen[r]);
    }
    if (any.empty()) return;
    const Index origin = any.first;
    score<Rows>(row, {any.first - tile.first, any.last - tile.first});
    const T cap_log2 = static_cast<T>(params_.logit_softcap * std::numbers::log2e);
    T factor[Rows]{};
    for (int r = 0; r < Rows; ++r) {
      if (seen[r].empty()) continue;
      T* const weights = scores_ + r * score_stride;
      factor[r] = softmax_row<T>(weights, seen[r].first - origin, seen[r].last - origin, cap_log2, state_->max[row + r],
                                 state_->total[row + r]);
    }
    const Index width = state_->features;
    std::fill_n(tile_sums_, Rows * width, T{0});
    if (all.empty()) all = {any.first, any.first};
    // A key that a row does not see must not reach it, not even times 0: only what all see is added for all at once.
    for (int r = 0; r < Rows; ++r) weigh<1>(r, {seen[r].first, std::min(seen[r].last, all.first)}, tile, origin);
    weigh<Rows>(0, all, tile, origin);
    for (int r = 0; r < Rows; ++r) weigh<1>(r, {std::max(seen[r].first, all.last), seen[r].last}, tile, origin);
    for (int r = 0; r < Rows; ++r) {
      if (seen[r].empty()) continue;
      T* const sums = state_->sums + (row + r) * width;
      for (Index d = 0; d < width; ++d) sums[d] = sums[d] * factor[r] + tile_sums_[r * width + d];
    }
  }

  /// Logits of keys [keys.first, keys.last) of the tile, from the start of scores_.
  template <int Rows>
  void score(Index row, KeyRange keys) {
    const Index width = whole_packets<T>(head_dim_), count = keys.last - keys.first;
    const T* const queries = queries_ + row * width;
    const auto run = [&]<class E>(std::type_identity<E>) {
      score_rows<T, E, Rows>(key_rows_ + keys.first, count, width, queries, scores_, score_stride, key_bytes_ahead_);
    };
    if constexpr (RowReader<T, Key>::direct && has_placed_keys<Source>) {
      if (keys_are_direct()) return run(std::type_identity<Key>{});
    }
    run(std::type_identity<T>{});
  }

  /// Adds values [keys.first, keys.last) to the tile's sums of Rows rows at work, from row `first` of them on. Sums of
  /// a tile are rounded as small numbers: errors grow with the number of tiles and not with that of keys.
  template <int Rows>
  void weigh(int first, KeyRange keys, KeyRange tile, Index origin) {
    if (keys.empty()) return;
    T* const sums = tile_sums_ + first * state_->features;
    const T* const weights = scores_ + first * score_stride;
    const auto run = [&]<class E>(std::type_identity<E>) {
      add_values<T, E, Rows>(value_rows_ + (origin - tile.first), keys.first - origin, keys.last - origin,
                             state_->features, weights, score_stride, sums, value_bytes_ahead_);
    };
    if constexpr (RowReader<T, Value>::direct) {
      if (values_are_direct()) return run(std::type_identity<Value>{});
    }
    run(std::type_identity<T>{});
  }

  const AttentionParams<Layout>& params_;
  const Source& source_;
  const AttentionCall<T, Q, O>& call_;
  const Choices& choices_;
  Index group_;
  Index head_dim_, v_head_dim_;
  RowRotator<T> rotator_;
  KeyRange* ranges_;         // per row, of the current part
  T* queries_;               // [rows][head_dim in whole packets]
  T* tile_sums_;             // of the rows at work: [streamed_rows][v_head_dim in whole packets]
  T* scores_;                // of the rows at work: [streamed_rows][score_stride]
  const void** key_rows_;    // of the tile, in storage or in keys_
  const void** value_rows_;  // likewise
  Index key_bytes_ahead_ = 0, value_bytes_ahead_ = 0;
  T *keys_, *values_, *spare_;
  Index sequence_ = 0, kv_head_ = 0, rows_ = 0;
  QueryRun run_{};
  const StreamedState<T>* state_ = nullptr;
};

}  // namespace dca::detail
