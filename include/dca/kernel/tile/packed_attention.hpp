// Attention of many query rows, by packed products.
#pragma once

#include "dca/kernel/machine/online_softmax.hpp"
#include "dca/kernel/plan/panels.hpp"
#include "dca/kernel/tile/pack.hpp"
#include "dca/kernel/tile/visit_tiles.hpp"
#include "dca/kernel/tile/write_row.hpp"

namespace dca::detail {

/// Elements of a packet and of a panel of T.
template <class T>
inline constexpr LaneShape lane_shape{packet_size<T>, panel_rows<T>};

/// Many query rows of one sequence and kv_head, as the tile loop drives them.
///
/// With vectors of N lanes, a panel is up to 3 N query rows side by side, and both products have the same form: keys
/// (or values) are broadcast, queries (or probabilities) are loaded:
///
///   a part begins:      rotate the queries into panels [head_dim][lanes]
///   a tile of keys:     rotate and pack keys [128][head_dim], pack values
///     for each panel that sees it:  scores = keys x queries; mask; online softmax
///                                   sums = sums * factor + values^T x probabilities
///   the end:            out = sums / total, lse
///
/// The softmax is vertical, each lane for itself, and a lane's arithmetic depends on nothing but its own query and its
/// own keys: the same bits for any grouping of rows into panels, tasks, batches and threads. A tile is packed once for
/// all panels of a task, whose queries and sums stay in cache.
template <class T>
class PackedAttention {
 public:
  static constexpr Index tile_keys = key_tile;

  /// Takes from `arena` what a task of at most `rows` rows needs; of an arena without memory, only the amount.
  PackedAttention(const AttentionParams& params, const SourceRef<T>& source, const AttentionCall<T>& call,
                  const BlockChoices& choices, Index rows, Arena& arena)
      : params_(params),
        source_(source),
        call_(call),
        choices_(choices),
        cutter_(params.composition, choices, lane_shape<T>),
        group_(call.heads / source.kv_heads),
        head_dim_(source.head_dim),
        v_head_dim_(source.v_head_dim),
        rotator_(params.rope, arena),
        offset_(source.key_offset, arena) {
    const Index lanes = cutter_.lane_capacity(rows, group_);
    panels_ = arena.take<Panel>(cutter_.panel_capacity(lanes));
    ranges_ = arena.take<KeyRange>(lanes);
    state_ = {arena.take<T>(lanes), arena.take<T>(lanes)};
    queries_ = arena.take<T>(lanes * head_dim_);
    sums_ = arena.take<T>(lanes * v_head_dim_);
    keys_ = arena.take<T>(key_tile * head_dim_);
    values_ = arena.take<T>(value_stride * v_head_dim_);
    scores_ = arena.take<T>(key_tile * panel_rows<T>);
    most_ = arena.take<T>(panel_rows<T>);
    factor_ = arena.take<T>(panel_rows<T>);
    lane_first_ = arena.take<T>(panel_rows<T>);
    lane_last_ = arena.take<T>(panel_rows<T>);
    rows_ = arena.take<T>((packet_size<T> + 1) * std::max(head_dim_, v_head_dim_));
  }

  /// Attention of rows [first_row, last_row) of a sequence and kv_head, through all parts.
  void attend(Index sequence, const QueryTokens& tokens, Index kv_head, Index first_row, Index last_row) {
    visit(sequence, tokens, kv_head, first_row, last_row, {0, source_.length(sequence)});
    for (const Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) write_panel(*panel);
  }

  /// Of those rows to the keys in `limit`, into their places in `state`.
  void attend(Index sequence, const QueryTokens& tokens, Index kv_head, Index first_row, Index last_row, KeyRange limit,
              const RowStates<T>& state) {
    visit(sequence, tokens, kv_head, first_row, last_row, limit);
    for (const Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) store_panel(*panel, state);
  }

  /// Of the tile loop: queries take their places for a part; the keys that any of them sees.
  KeyRange begin_part(Index part, KeyRange limit) {
    seen_ = intersection(find_ranges(part), limit);
    const Panel& last = panels_[panel_count_ - 1];
    RowsAhead<T> first_tile = rows_of_tile(part, seen_.first - seen_.first % key_tile);
    for (const Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) {
      if (panel->seen.empty()) continue;
      const QueryPacker<T> packer{params_, call_, rotator_, rows_};
      packer.pack(part, tokens_, kv_head_, group_, {panel->first_row, panel->first_row + panel->rows},
                  last.first_row + last.rows, panel->vectors * packet_size<T>, queries_ + panel->lane * head_dim_);
      first_tile(key_tile / 16);
    }
    return seen_;
  }

  /// Of the tile loop: the rows meet the keys that they see among those of a tile.
  void visit_tile(Index part, KeyRange tile, Index origin) {
    const KeyRange keys = visited_keys(part, tile);
    if (keys.empty()) return;
    pack_keys(part, keys, origin);
    const bool finite = pack_values(source_, sequence_, kv_head_, keys, origin, value_stride, values_, rows_);
    RowsAhead<T> next_tile = rows_of_tile(part, origin + key_tile);
    RowsAhead<T> nothing(source_, sequence_, kv_head_, {0, 0});
    for (const Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) {
      for_each_run(part, *panel, tile, [&](KeyRange mine) {
        RowsAhead<T>& ahead = panels_ + panel_count_ - panel <= panels_ahead ? next_tile : nothing;
        visit_panel(*panel, mine, origin, finite, ahead);
      });
    }
  }

 private:
  void visit(Index sequence, const QueryTokens& tokens, Index kv_head, Index first_row, Index last_row,
             KeyRange limit) {
    sequence_ = sequence;
    tokens_ = tokens;
    kv_head_ = kv_head;
    positions_ = {tokens.position, group_};
    panel_count_ = cutter_.cut(sequence, positions_, first_row, last_row, panels_);
    if (choices_.selects()) {
      for (Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) {
        panel->choice = &choices_.choice_of(sequence, positions_.at(panel->first_row));
      }
    }
    const Index lanes = panels_[panel_count_ - 1].lane + panels_[panel_count_ - 1].vectors * packet_size<T>;
    std::fill_n(state_.max, lanes, -std::numeric_limits<T>::infinity());
    std::fill_n(state_.total, lanes, T{0});
    std::fill_n(sums_, lanes * v_head_dim_, T{0});
    visit_tiles(*this, params_.composition, limit);
  }

  /// Keys from a packed tile of features to the next: not a power of two, which few sets of the cache would have to
  /// hold.
  static constexpr Index value_stride = key_tile + 4;

  /// The next tile is prefetched while so many panels, the last ones, meet this one: earlier, it would have left the
  /// second-level cache again.
  static constexpr Index panels_ahead = 4;
  /// Rows of it prefetched at each register tile, so that those panels suffice.
  static constexpr Index rows_ahead = register_tile.rows / 2;

  /// Calls f for the runs of keys that a panel visits in a tile: all that it sees there, or what its queries chose.
  template <class F>
  void for_each_run(Index part, const Panel& panel, KeyRange tile, F&& f) const {
    KeyRange left = intersection(panel.seen, tile);
    if (left.empty()) return;
    if (choices_.selects(part)) {
      const BlockSet chosen = choices_.set(*panel.choice, kv_head_, left);
      for (KeyRange run = chosen.first_run(left); !run.empty(); run = chosen.first_run(left)) {
        f(run);
        left.first = run.last;
      }
    } else {
      f(left);
    }
  }

  /// The hull of the keys that panels visit in a tile.
  KeyRange visited_keys(Index part, KeyRange tile) const {
    KeyRange keys{0, 0};
    for (const Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) {
      for_each_run(part, *panel, tile, [&](KeyRange mine) { keys = hull(keys, mine); });
    }
    return keys;
  }

  /// The rows that packing the tile at `origin` will read.
  RowsAhead<T> rows_of_tile(Index part, Index origin) const {
    return {source_, sequence_, kv_head_, visited_keys(part, intersection(seen_, {origin, origin + key_tile}))};
  }

  /// Keys that each lane sees through a part, those of the panels, and their hull.
  KeyRange find_ranges(Index part) {
    KeyRange all{0, 0};
    for (Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) {
      KeyRange* const lanes = ranges_ + panel->lane;
      const Index first = positions_.at(panel->first_row), last = positions_.at(panel->first_row + panel->rows - 1);
      const Index tokens = last - first + 1;
      params_.composition.keys(part, first, tokens, lanes);
      KeyRange seen{0, 0}, common{0, std::numeric_limits<Index>::max()};
      for (Index token = 0; token < tokens; ++token) {
        seen = hull(seen, lanes[token]);
        common = intersection(common, lanes[token]);
      }
      panel->seen = seen;
      panel->common = common;
      all = hull(all, seen);
      // From the last one on: a lane's token lies at its place or before.
      if (group_ > 1) {
        for (Index r = panel->rows - 1, head = panel->first_row % group_; r > 0; --r)
          lanes[r] = lanes[(head + r) / group_];
      }
      std::fill(lanes + panel->rows, lanes + panel->vectors * packet_size<T>, KeyRange{0, 0});
    }
    return all;
  }

  void pack_keys(Index part, KeyRange keys, Index origin) {
    const auto run_at = [&](Index key) { return source_.keys(sequence_, kv_head_, key); };
    const KeyPlacer<T> place_key{params_, source_, rotator_, offset_, rows_};
    for_each_row(keys.first, keys.last, source_.key, run_at, [&](ByteRow row, Index key) {
      place_key(part, kv_head_, row, key, keys_ + (key - origin) * head_dim_);
    });
  }

  /// A panel meets keys [keys.first, keys.last) of the packed tile.
  void visit_panel(const Panel& panel, KeyRange keys, Index origin, bool finite, RowsAhead<T>& ahead) {
    const Index count = keys.last - keys.first;
    const Index first = keys.first - origin;
    BeforeTile prefetch_more{nullptr, &ahead};
    if (!ahead.done()) prefetch_more.call = [](void* rows) { (*static_cast<RowsAhead<T>*>(rows))(rows_ahead); };
    multiply_keys(keys_ + first * head_dim_, count, head_dim_, panel.vectors, queries_ + panel.lane * head_dim_,
                  scores_, most_, prefetch_more);
    LaneRanges<T> ranges;
    if (keys.first < panel.common.first || keys.last > panel.common.last) ranges = lane_ranges(panel, keys);
    const SoftCap<T> cap(params_.logit_softcap);
    if (ranges || cap) mask_scores(scores_, count, panel.vectors, ranges, cap, most_);
    online_softmax(scores_, count, panel.vectors, most_, {state_.max + panel.lane, state_.total + panel.lane}, factor_);
    T* const sums = sums_ + panel.lane * v_head_dim_;
    if (finite || !ranges) {
      multiply_values(values_, value_stride, first, first + count, v_head_dim_, panel.vectors, scores_, factor_, sums,
                      prefetch_more);
    } else {
      multiply_visible_values(values_, value_stride, first, count, v_head_dim_, panel.vectors, scores_, factor_, sums,
                              ranges);
    }
  }

  LaneRanges<T> lane_ranges(const Panel& panel, KeyRange keys) {
    const KeyRange* const lanes = ranges_ + panel.lane;
    for (Index lane = 0; lane < panel.vectors * packet_size<T>; ++lane) {
      lane_first_[lane] = static_cast<T>(std::clamp<Index>(lanes[lane].first - keys.first, 0, key_tile));
      lane_last_[lane] = static_cast<T>(std::clamp<Index>(lanes[lane].last - keys.first, 0, key_tile));
    }
    return {lane_first_, lane_last_};
  }

  /// Calls f(row, lane, its sums [v_head_dim]) for the rows of a panel.
  template <class F>
  void for_each_row_of(const Panel& panel, F&& f) {
    const Index lanes = panel.vectors * packet_size<T>;
    for (Index lane = 0; lane < panel.rows; lane += packet_size<T>) {
      const T* const sums = sums_ + panel.lane * v_head_dim_ + lane;
      transpose(sums, lanes, v_head_dim_, std::min<Index>(packet_size<T>, panel.rows - lane), rows_, v_head_dim_);
      for (Index r = lane; r < std::min(panel.rows, lane + packet_size<T>); ++r) {
        f(panel.first_row + r, panel.lane + r, rows_ + (r - lane) * v_head_dim_);
      }
    }
  }

  void write_panel(const Panel& panel) {
    const Panel& last = panels_[panel_count_ - 1];
    const Index end = last.first_row + last.rows;
    for_each_row_of(panel, [&](Index row, Index lane, T* sums) {
      const Index ahead = row + packed_rows_ahead;
      if (ahead < end) prefetch<Access::write>(call_.out_row(tokens_, ahead / group_, head_of(ahead)), call_.out_bytes);
      write_row(row, lane, sums);
    });
  }

  void store_panel(const Panel& panel, const RowStates<T>& state) {
    for_each_row_of(panel, [&](Index row, Index lane, const T* sums) {
      state.max[row] = state_.max[lane];
      state.total[row] = state_.total[lane];
      T* const place = state.sums + row * state.width;
      std::copy_n(sums, v_head_dim_, place);
      std::fill(place + v_head_dim_, place + state.width, T{0});
    });
  }

  void write_row(Index row, Index lane, T* sums) {
    // Needed only for a row whose total is 0.
    const bool visits = state_.total[lane] == T{0} &&
                        visits_keys(params_.composition, choices_, sequence_, kv_head_, positions_.at(row));
    detail::write_row(call_, tokens_, row / group_, head_of(row), sums, state_[lane], visits);
  }

  Index head_of(Index row) const { return kv_head_ * group_ + row % group_; }

  const AttentionParams& params_;
  const SourceRef<T>& source_;
  const AttentionCall<T>& call_;
  const BlockChoices& choices_;
  PanelCutter cutter_;
  Index group_;
  Index head_dim_, v_head_dim_;
  RowRotator<T> rotator_;
  OffsetTurner<T> offset_;
  Panel* panels_;
  KeyRange* ranges_;  // per lane, of the current part
  SoftmaxState<T> state_;
  T *queries_, *sums_;           // per panel [head_dim][lanes] and [v_head_dim][lanes]
  T *keys_, *values_;            // the packed tile
  T *scores_, *most_, *factor_;  // of the panel at work: [key_tile][lanes], [lanes] and [lanes]
  T *lane_first_, *lane_last_;   // likewise, for masks
  T* rows_;                      // a packet of rows on their way in or out, and one more
  Index sequence_ = 0, kv_head_ = 0, panel_count_ = 0;
  QueryTokens tokens_{};
  KeyRange seen_{0, 0};  // by any row, through the current part
  RowPositions positions_{0, 1};
};

}  // namespace dca::detail
