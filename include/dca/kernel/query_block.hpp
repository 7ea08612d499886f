// A block of query rows: the inner half of the tile loop.
#pragma once

#include <cmath>
#include <numbers>

#include "dca/kernel/online_softmax.hpp"
#include "dca/kernel/pack.hpp"
#include "dca/kernel/panels.hpp"
#include "dca/kernel/transpose.hpp"

namespace dca::detail {

/// The arguments of one call, checked, with a batch dimension: query [batch, q_len, heads, head_dim], out
/// [batch, q_len, heads, v_head_dim], lse [batch, q_len, heads] or no data, sink_logits [heads] or null.
template <class T, class Q, class O>
struct AttentionCall {
  TensorView<const Q> query;
  TensorView<O> out;
  TensorView<T> lse;
  const T* sink_logits;
  Index q_offset;
};

/// What stays the same from call to call. logit_softcap 0 means none.
template <class Layout>
struct AttentionParams {
  const Layout& chunks;
  const RotaryEmbedding& rope;
  double softmax_scale;
  double logit_softcap;
};

/// Keys of a tile. Tiles start at multiples of it, wherever a block or a part starts, so that the sums of a query row
/// do not depend on how rows were grouped.
inline constexpr Index key_tile = 128;

/// A block of query rows of one sequence and kv_head against all the keys that they see.
///
/// With vectors of N lanes, a panel is up to 3 N query rows side by side, and both products have the same form: keys
/// (or values) are broadcast, queries (or probabilities) are loaded:
///
///   for each part:                       rotate the block's queries into panels [head_dim][lanes]
///     for each key tile that is seen:    rotate and pack keys [128][head_dim], pack values
///       for each panel that sees it:     scores = keys x queries; mask; online softmax
///                                        sums = sums * factor + values^T x probabilities
///   out = sums / total, lse
///
/// The softmax is vertical, each lane for itself, and a lane's arithmetic depends on nothing but its own query and its
/// own keys: the same bits for any grouping of rows into panels, blocks, batches and threads. A tile is packed once for
/// all panels of a block, whose queries and sums stay in cache.
template <class T, class Layout, class Source, class Q, class O, ChunkPart... Parts>
class QueryBlock {
 public:
  using Cutter = PanelCutter<T, Layout, Parts...>;

  /// Takes from `arena` what a block of at most `rows` rows needs; of an arena without memory, only the amount.
  QueryBlock(const AttentionParams<Layout>& params, const Source& source, const AttentionCall<T, Q, O>& call,
             Index rows, Arena& arena)
      : params_(params),
        source_(source),
        call_(call),
        group_(call.query.shape[2] / source.kv_heads()),
        head_dim_(source.head_dim()),
        v_head_dim_(source.v_head_dim()),
        rotator_(params.rope, arena) {
    const Index lanes = Cutter::lane_capacity(rows);
    panels_ = arena.take<Panel>(Cutter::panel_capacity(rows));
    ranges_ = arena.take<KeyRange>(lanes);
    state_ = {arena.take<T>(lanes), arena.take<T>(lanes)};
    queries_ = arena.take<T>(lanes * head_dim_);
    sums_ = arena.take<T>(lanes * v_head_dim_);
    keys_ = arena.take<T>(key_tile * head_dim_);
    values_ = arena.take<T>(key_tile * v_head_dim_);
    scores_ = arena.take<T>(key_tile * panel_rows<T>);
    factor_ = arena.take<T>(panel_rows<T>);
    lane_first_ = arena.take<T>(panel_rows<T>);
    lane_last_ = arena.take<T>(panel_rows<T>);
    rows_ = arena.take<T>(packet_size<T> * std::max(head_dim_, v_head_dim_));
  }

  /// Attention of rows [first_row, last_row) of one sequence and kv_head, through all parts.
  void attend(Index batch, Index kv_head, Index first_row, Index last_row) {
    batch_ = batch;
    kv_head_ = kv_head;
    query_ = {call_.q_offset, group_};
    panel_count_ = Cutter::cut(params_.chunks, query_, first_row, last_row, panels_);
    const Index lanes = panels_[panel_count_ - 1].lane + panels_[panel_count_ - 1].vectors * packet_size<T>;
    std::fill_n(state_.max, lanes, -std::numeric_limits<T>::infinity());
    std::fill_n(state_.total, lanes, T{0});
    std::fill_n(sums_, lanes * v_head_dim_, T{0});
    (attend_part<Parts>(), ...);
    for (const Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) write_panel(*panel);
  }

 private:
  template <class Part>
  void attend_part() {
    const KeyRange seen = find_ranges<Part>();
    if (seen.empty()) return;
    for (const Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) {
      if (!panel->seen.empty()) pack_queries<Part>(*panel);
    }
    for (Index origin = seen.first - seen.first % key_tile; origin < seen.last; origin += key_tile) {
      const KeyRange tile{origin, origin + key_tile};
      KeyRange keys{0, 0};
      for (const Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) {
        keys = hull(keys, intersection(panel->seen, tile));
      }
      if (keys.empty()) continue;
      pack_keys<Part>(keys, origin);
      const bool finite = pack_values(source_, batch_, kv_head_, keys, origin, key_tile, values_);
      for (const Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) {
        const KeyRange mine = intersection(panel->seen, tile);
        if (mine.empty()) continue;
        with_count<register_tile.vectors>(panel->vectors,
                                          [&](auto vectors) { visit<vectors>(*panel, mine, origin, finite); });
      }
    }
  }

  /// Keys that each lane sees through Part, those of the panels, and their hull.
  template <class Part>
  KeyRange find_ranges() {
    KeyRange all{0, 0};
    for (Panel* panel = panels_; panel < panels_ + panel_count_; ++panel) {
      KeyRange* const lanes = ranges_ + panel->lane;
      std::fill_n(lanes, panel->vectors * packet_size<T>, KeyRange{0, 0});
      panel->seen = {0, 0};
      panel->common = {0, std::numeric_limits<Index>::max()};
      for (Index r = 0; r < panel->rows; ++r) {
        const Index position = query_.position(panel->first_row + r);
        const bool same = r > 0 && position == query_.position(panel->first_row + r - 1);
        lanes[r] = same ? lanes[r - 1] : Part::keys(params_.chunks, position);
        panel->seen = hull(panel->seen, lanes[r]);
        panel->common = intersection(panel->common, lanes[r]);
      }
      all = hull(all, panel->seen);
    }
    return all;
  }

  /// Queries of a panel as Part places them, times what turns their products with keys into logits: [head_dim][lanes].
  template <class Part>
  void pack_queries(const Panel& panel) {
    const double attention_factor = params_.rope.attention_factor();
    // Logits are in units of log2, or of the cap where tanh comes next.
    const double unit = params_.logit_softcap > 0 ? params_.logit_softcap : std::numbers::ln2;
    const T scale = static_cast<T>(params_.softmax_scale / unit);
    const T rotated_scale = static_cast<T>(params_.softmax_scale * attention_factor * attention_factor / unit);
    const Index lanes = panel.vectors * packet_size<T>, rotary_dim = params_.rope.rotary_dim();
    for (Index lane = 0; lane < lanes; lane += packet_size<T>) {
      for (Index r = 0; r < packet_size<T>; ++r) {
        T* const place = rows_ + r * head_dim_;
        if (lane + r >= panel.rows) {
          std::fill_n(place, head_dim_, T{0});
          continue;
        }
        const Index row = panel.first_row + lane + r;
        rotator_(Part::query_position(params_.chunks, query_.position(row)), query_row(row), head_dim_, place);
        for (Index d = 0; d < rotary_dim; ++d) place[d] *= rotated_scale;
        for (Index d = rotary_dim; d < head_dim_; ++d) place[d] *= scale;
      }
      transpose(rows_, head_dim_, packet_size<T>, head_dim_, queries_ + panel.lane * head_dim_ + lane, lanes);
    }
  }

  template <class Part>
  void pack_keys(KeyRange keys, Index origin) {
    const auto run_at = [&](Index key) { return source_.keys(batch_, kv_head_, key); };
    for_each_row(keys.first, keys.last, run_at, [&](const auto* row, Index key) {
      rotator_(Part::key_position(params_.chunks, key), row, head_dim_, keys_ + (key - origin) * head_dim_);
    });
  }

  /// A panel meets keys [keys.first, keys.last) of the packed tile.
  template <int Vectors>
  void visit(const Panel& panel, KeyRange keys, Index origin, bool finite) {
    const Index count = keys.last - keys.first;
    const Index first = keys.first - origin;
    multiply_keys<T, Vectors>(keys_ + first * head_dim_, count, head_dim_, queries_ + panel.lane * head_dim_, scores_);
    LaneRanges<T> ranges;
    if (keys.first < panel.common.first || keys.last > panel.common.last) ranges = lane_ranges(panel, keys);
    const T cap_log2 = static_cast<T>(params_.logit_softcap * std::numbers::log2e);
    if (ranges || cap_log2 > T{0}) mask_scores<T, Vectors>(scores_, count, ranges, cap_log2);
    online_softmax<T, Vectors>(scores_, count, {state_.max + panel.lane, state_.total + panel.lane}, factor_);
    T* const sums = sums_ + panel.lane * v_head_dim_;
    if (finite || !ranges) {
      multiply_values<T, Vectors>(values_, key_tile, first, first + count, v_head_dim_, scores_, factor_, sums);
    } else {
      multiply_visible_values<T, Vectors>(values_, key_tile, first, count, v_head_dim_, scores_, factor_, sums, ranges);
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

  void write_panel(const Panel& panel) {
    const Index lanes = panel.vectors * packet_size<T>;
    for (Index lane = 0; lane < panel.rows; lane += packet_size<T>) {
      const T* const sums = sums_ + panel.lane * v_head_dim_ + lane;
      transpose(sums, lanes, v_head_dim_, std::min<Index>(packet_size<T>, panel.rows - lane), rows_, v_head_dim_);
      for (Index r = lane; r < std::min(panel.rows, lane + packet_size<T>); ++r) {
        write_row(panel.first_row + r, panel.lane + r, rows_ + (r - lane) * v_head_dim_);
      }
    }
  }

  /// Normalises the sums of a row and writes them and its lse.
  void write_row(Index row, Index lane, const T* sums) {
    const Index token = row / group_, head = kv_head_ * group_ + row % group_;
    const RowResult result = finish_row(row, head, state_.max[lane], state_.total[lane]);
    const TensorView<O>& out = call_.out;
    O* const place = out.data + batch_ * out.strides[0] + token * out.strides[1] + head * out.strides[2];
    for (Index d = 0; d < v_head_dim_; ++d) place[d] = static_cast<O>(sums[d] * result.weight);
    const TensorView<T>& lse = call_.lse;
    if (lse.data != nullptr) {
      lse.data[batch_ * lse.strides[0] + token * lse.strides[1] + head * lse.strides[2]] = static_cast<T>(result.lse);
    }
  }

  struct RowResult {
    T weight;
    double lse;
  };

  /// What a row's sums are multiplied by, and its lse. A row without keys gives 0 and -inf; one whose logits are all
  /// -inf has no softmax, and gives NaN.
  RowResult finish_row(Index row, Index head, T max, T total) const {
    const double lowest = -std::numeric_limits<double>::infinity();
    if (total == T{0}) {
      const bool sees_keys = (!Parts::keys(params_.chunks, query_.position(row)).empty() || ...);
      const double nan = std::numeric_limits<double>::quiet_NaN();
      return sees_keys ? RowResult{static_cast<T>(nan), nan} : RowResult{T{0}, lowest};
    }
    double denominator = static_cast<double>(total);
    const double lse = (static_cast<double>(max) + std::log2(denominator)) * std::numbers::ln2;
    if (call_.sink_logits != nullptr) {
      const double sink = static_cast<double>(call_.sink_logits[head]) * std::numbers::log2e;
      denominator += std::exp2(sink - static_cast<double>(max));
    }
    return {static_cast<T>(1.0 / denominator), lse};
  }

  const Q* query_row(Index row) const {
    const TensorView<const Q>& query = call_.query;
    const Index head = kv_head_ * group_ + row % group_;
    return query.data + batch_ * query.strides[0] + row / group_ * query.strides[1] + head * query.strides[2];
  }

  const AttentionParams<Layout>& params_;
  const Source& source_;
  const AttentionCall<T, Q, O>& call_;
  Index group_;
  Index head_dim_, v_head_dim_;
  RowRotator<T> rotator_;
  Panel* panels_;
  KeyRange* ranges_;  // per lane, of the current part
  SoftmaxState<T> state_;
  T *queries_, *sums_;          // per panel [head_dim][lanes] and [v_head_dim][lanes]
  T *keys_, *values_;           // the packed tile
  T *scores_, *factor_;         // of the panel at work: [key_tile][lanes] and [lanes]
  T *lane_first_, *lane_last_;  // likewise, for masks
  T* rows_;                     // a packet of rows on their way in or out
  Index batch_ = 0, kv_head_ = 0, panel_count_ = 0;
  QueryRows query_{0, 1};
};

}  // namespace dca::detail
