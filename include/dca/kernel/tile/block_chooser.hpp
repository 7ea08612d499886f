// Chooses key blocks for queries that share a choice: estimates from block summaries, then the policy's choice.
#pragma once

#include "dca/kernel/call/selection_ref.hpp"
#include "dca/kernel/machine/online_softmax.hpp"
#include "dca/kernel/plan/choices.hpp"
#include "dca/kernel/tile/pack.hpp"
#include "dca/kernel/tile/summaries.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// blocks[b].importance += the sum over lanes, each times its `weight`, of the softmax over blocks of scores
/// [count][lanes], of `vectors` packets of lanes, which are overwritten. Infinite scores count as the largest finite
/// ones, NaN as the largest; blocks whose importance is NaN are left out.
template <class T>
void add_importance(T* scores, Index count, int vectors, const T* weight, RankedBlock<T>* blocks) {
  constexpr int size = packet_size<T>, most_lanes = panel_rows<T>;
  const int lanes = vectors * size;
  alignas(64) T most[most_lanes], share[most_lanes], max[most_lanes], total[most_lanes]{};
  constexpr T lowest = -std::numeric_limits<T>::infinity(), largest = std::numeric_limits<T>::max();
  for (Index b = 0; b < count; ++b) {
    T* const row = scores + b * lanes;
    if (std::isnan(blocks[b].importance)) {
      std::fill_n(row, lanes, lowest);
      continue;
    }
    for (int lane = 0; lane < lanes; lane += size) {
      const Packet<T> x = load(row + lane), known = ei::pselect(ei::pcmp_eq(x, x), x, broadcast(largest));
      store(row + lane, ei::pmax(ei::pmin(known, broadcast(largest)), broadcast(-largest)));
    }
  }
  std::fill_n(max, lanes, lowest);
  mask_scores(scores, count, vectors, LaneRanges<T>{}, SoftCap<T>(0), most);
  online_softmax(scores, count, vectors, most, {max, total}, share);
  for (int lane = 0; lane < lanes; lane += size) {
    store(share + lane, ei::pdiv(load(weight + lane), load(total + lane)));
  }
  for (Index b = 0; b < count; ++b) {
    Packet<T> sum = broadcast(T{0});
    for (int lane = 0; lane < lanes; lane += size) {
      sum = ei::pmadd(load(scores + b * lanes + lane), load(share + lane), sum);
    }
    blocks[b].importance += ei::predux(sum);
  }
}

/// Makes choices, one at a time; what a thread needs for it.
///
/// With the middle c of a block's least and largest keys, and their reach r to both sides, <q, k> <= <q, c> + <|q|, r>
/// for each of its keys k. So the bounds of many queries on many blocks are one product, of rows [c, r] with columns
/// [q, |q|], made by the kernel's register tile: a block costs as much as a key.
template <class T>
class BlockChooser {
 public:
  /// Takes from `arena` what any choice needs; of an arena without memory, only the amount.
  BlockChooser(const AttentionParams& params, Index part, const KeySummaries<T>& summaries,
               const AttentionCall<T>& call, const SelectionRef<T>& selection, const BlockChoices& choices,
               Arena& arena)
      : params_(params),
        part_(part),
        summaries_(summaries),
        call_(call),
        selection_(selection),
        choices_(choices),
        group_(call.heads / summaries.kv_heads()),
        head_dim_(summaries.head_dim()),
        rotator_(params.rope, arena) {
    if (!selection.ranks() && call.skipped.data == nullptr) return;
    rows_ = arena.take<T>((packet_size<T> + 1) * head_dim_);
    queries_ = arena.take<T>(2 * head_dim_ * panel_rows<T>);
    weight_ = arena.take<T>(panel_rows<T>);
    summary_ = arena.take<T>(KeySummary<T>::size(head_dim_));
    bounds_ = arena.take<T>(key_tile * 2 * head_dim_);
    scores_ = arena.take<T>(choices.most_blocks() * panel_rows<T>);
    blocks_ = arena.take<RankedBlock<T>>(choices.most_blocks());
  }

  /// Lets the policy make a choice.
  void choose(const Choice& choice, const QueryTokens& tokens, Index kv_head) {
    tokens_ = tokens;
    // Queries that are streamed together visit what any of them chose, even where they see different keys.
    for_each_alike(choice, kv_head, [&](const QueryBlock& query, BlockSet set) { choose_alike(query, set); });
  }

  /// Writes bounds of the softmax mass that the queries of a choice skip. To be called after `choose`.
  void bound_skipped(const Choice& choice, const QueryTokens& tokens, Index kv_head) {
    tokens_ = tokens;
    for_each_alike(choice, kv_head, [&](const QueryBlock& query, BlockSet set) { bound_alike(query, set); });
  }

 private:
  /// Calls f for the queries of a choice that see the same keys, where they see any.
  template <class F>
  void for_each_alike(const Choice& choice, Index kv_head, F&& f) const {
    for (Index first = choice.queries.first; first < choice.queries.last;) {
      const KeyRange keys = params_.composition.keys(part_, first);
      Index last = choice.queries.last;
      while (params_.composition.keys(part_, last - 1) != keys) --last;
      if (!keys.empty())
        f(QueryBlock{choice.sequence, kv_head, {first, last}, keys}, choices_.set(choice, kv_head, keys));
      first = last;
    }
  }

  void choose_alike(const QueryBlock& query, BlockSet set) {
    if (selection_.ranks()) {
      constexpr T most = std::numeric_limits<T>::infinity();
      const Index first = set.first_block(), count = set.last_block() - first;
      for (Index b = 0; b < count; ++b) blocks_[b] = {T{0}, first + b};
      // The last block may not be complete, in its summary or in the range: it is the nearest, and needs no estimate.
      for_each_panel(query, [&](int vectors, KeyRange) {
        zero_non_finite_queries(vectors * packet_size<T>);
        score(query, {first, first + count - 1}, vectors, static_cast<T>(selection_.optimism),
              [&](Index b) { blocks_[b - first].importance = std::numeric_limits<T>::quiet_NaN(); });
        add_importance(scores_, count - 1, vectors, weight_, blocks_);
      });
      for (Index b = 0; b < count; ++b) {
        if (b == count - 1 || std::isnan(blocks_[b].importance)) blocks_[b].importance = most;
      }
      selection_.choose_ranked(selection_.selection, query, {blocks_, static_cast<std::size_t>(count)}, set);
    } else {
      selection_.choose(selection_.selection, query, set);
    }
  }

  /// Writes, per row, the log2 of an upper bound of the sum of 2^logit over skipped keys.
  void bound_alike(const QueryBlock& query, const BlockSet& set) {
    constexpr T lowest = -std::numeric_limits<T>::infinity();
    const Index first = set.first_block(), count = set.last_block() - first;
    for_each_panel(query, [&](int vectors, KeyRange rows) {
      const int lanes = vectors * packet_size<T>;
      score(query, {first, first + count}, vectors, T{1}, [](Index) {});
      for (Index b = 0; b < count; ++b) {
        const KeyRange keys =
            intersection(query.keys, {(first + b) * set.block_size(), (first + b + 1) * set.block_size()});
        const T more = set.contains(first + b) ? lowest : static_cast<T>(std::log2(keys.last - keys.first));
        for (int lane = 0; lane < lanes; ++lane) scores_[b * lanes + lane] += more;
      }
      constexpr Index most_lanes = panel_rows<T>;
      alignas(64) T most[most_lanes], factor[most_lanes], max[most_lanes], total[most_lanes]{};
      std::fill_n(max, lanes, lowest);
      mask_scores(scores_, count, vectors, LaneRanges<T>{}, SoftCap<T>(0), most);
      online_softmax(scores_, count, vectors, most, {max, total}, factor);
      for (Index row = rows.first; row < rows.last; ++row) {
        const Index lane = row - rows.first;
        *call_.row_of(call_.skipped, tokens_, row / group_, query.kv_head * group_ + row % group_) =
            static_cast<T>(max[lane] + std::log2(total[lane]));
      }
    });
  }

  /// Calls f(vectors, rows) for a block's query rows, a panel at a time, packed as [q, |q|] with weight 1.
  template <class F>
  void for_each_panel(const QueryBlock& query, F&& f) {
    const Index last_row = (query.queries.last - tokens_.position) * group_;
    for (Index row = (query.queries.first - tokens_.position) * group_; row < last_row; row += panel_rows<T>) {
      const Index count = std::min(panel_rows<T>, last_row - row), lanes = round_up(count, packet_size<T>);
      const QueryPacker<T> packer{params_, call_, rotator_, rows_};
      packer.pack(part_, tokens_, query.kv_head, group_, {row, row + count}, last_row, lanes, queries_);
      for (Index k = 0; k < head_dim_ * lanes; k += packet_size<T>) {
        store(queries_ + head_dim_ * lanes + k, ei::pabs(load(queries_ + k)));
      }
      std::fill_n(weight_, count, T{1});
      std::fill(weight_ + count, weight_ + lanes, T{0});
      f(static_cast<int>(lanes / packet_size<T>), KeyRange{row, row + count});
    }
  }

  /// Sets queries of the current panel that are not finite, and their weights, to 0: NaN would spoil the choice that
  /// their neighbours share.
  void zero_non_finite_queries(Index lanes) {
    T zero[panel_rows<T>]{};  // 0 * x is 0 for finite x, NaN otherwise
    for (Index d = 0; d < head_dim_; ++d) {
      for (Index lane = 0; lane < lanes; ++lane) zero[lane] += T{0} * queries_[d * lanes + lane];
    }
    for (Index lane = 0; lane < lanes; ++lane) {
      if (zero[lane] == T{0}) continue;
      for (Index d = 0; d < 2 * head_dim_; ++d) queries_[d * lanes + lane] = T{0};
      weight_[lane] = T{0};
    }
  }

  /// Writes logits of the panel's queries for blocks [blocks.first, blocks.last), their upper bounds where optimism is
  /// 1, to scores_ [blocks][lanes]. Calls unknown(block) for blocks with keys that are not finite.
  template <class Unknown>
  void score(const QueryBlock& query, KeyRange blocks, int vectors, T optimism, const Unknown& unknown) {
    const Index lanes = vectors * packet_size<T>;
    alignas(64) T most[panel_rows<T>];  // not used
    for (Index first = blocks.first; first < blocks.last; first += key_tile) {
      const Index count = std::min(key_tile, blocks.last - first);
      for (Index b = 0; b < count; ++b) {
        summaries_.read(query.sequence, query.kv_head, first + b, summary_);
        const T *const mean = summary_, *const least = mean + head_dim_, *const largest = least + head_dim_;
        T* const bound = bounds_ + b * 2 * head_dim_;
        for (Index d = 0; d < head_dim_; ++d) {
          bound[d] = optimism * T{0.5} * (largest[d] + least[d]) + (T{1} - optimism) * mean[d];
          bound[head_dim_ + d] = optimism * T{0.5} * (largest[d] - least[d]);
        }
        NonFinite<T> non_finite;
        non_finite.look(bound, 2 * head_dim_);
        if (non_finite.any()) unknown(first + b);
      }
      multiply_keys(bounds_, count, 2 * head_dim_, vectors, queries_, scores_ + (first - blocks.first) * lanes, most,
                    {nullptr, nullptr});
    }
    const SoftCap<T> cap(params_.logit_softcap);
    if (cap) mask_scores(scores_, blocks.last - blocks.first, vectors, LaneRanges<T>{}, cap, most);
  }

  const AttentionParams& params_;
  Index part_;
  const KeySummaries<T>& summaries_;
  const AttentionCall<T>& call_;
  const SelectionRef<T>& selection_;
  const BlockChoices& choices_;
  Index group_, head_dim_;
  RowRotator<T> rotator_;
  T* rows_ = nullptr;     // a packet of rows on their way in, and one more
  T* queries_ = nullptr;  // of the panel at work: [2 * head_dim][lanes]
  T* weight_ = nullptr;   // 1 for its rows, 0 for the lanes beyond
  T* summary_ = nullptr;
  T* bounds_ = nullptr;  // of a tile of blocks: [key_tile][2 * head_dim]
  T* scores_ = nullptr;  // [blocks][lanes]
  RankedBlock<T>* blocks_ = nullptr;
  QueryTokens tokens_{};
};

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
