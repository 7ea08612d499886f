// Chooses key blocks for queries that share a choice: estimates from block summaries, then the policy's choice.
#pragma once

#include "dca/kernel/machine/online_softmax.hpp"
#include "dca/kernel/plan/choices.hpp"
#include "dca/kernel/tile/pack.hpp"
#include "dca/kernel/tile/summaries.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// blocks[b].importance += the sum over lanes, each times its `weight`, of the softmax over blocks of scores
/// [count][lanes], which are overwritten. Infinite scores count as the largest finite ones, NaN as the largest; blocks
/// whose importance is NaN are left out.
template <class T, int Vectors>
void add_importance(T* scores, Index count, const T* weight, RankedBlock<T>* blocks) {
  constexpr int size = packet_size<T>, stride = Vectors * size;
  alignas(64) T most[stride], factor[stride]{}, max[stride], total[stride]{};
  constexpr T lowest = -std::numeric_limits<T>::infinity(), largest = std::numeric_limits<T>::max();
  for (Index b = 0; b < count; ++b) {
    if (std::isnan(blocks[b].importance)) {
      std::fill_n(scores + b * stride, stride, lowest);
      continue;
    }
    unroll<Vectors>([&](int v) DCA_INLINE {
      T* const place = scores + b * stride + v * size;
      const Packet<T> x = load(place), known = ei::pselect(ei::pcmp_eq(x, x), x, broadcast(largest));
      store(place, ei::pmax(ei::pmin(known, broadcast(largest)), broadcast(-largest)));
    });
  }
  std::fill_n(max, stride, lowest);
  largest_logits<T, Vectors>(scores, count, most);
  online_softmax<T, Vectors>(scores, count, most, {max, total}, factor);
  Packet<T> share[Vectors];
  unroll<Vectors>([&](int v) DCA_INLINE { share[v] = ei::pdiv(load(weight + v * size), load(total + v * size)); });
  for (Index b = 0; b < count; ++b) {
    Packet<T> sum = broadcast(T{0});
    unroll<Vectors>([&](int v) DCA_INLINE { sum = ei::pmadd(load(scores + b * stride + v * size), share[v], sum); });
    blocks[b].importance += ei::predux(sum);
  }
}

/// A policy by reference, whatever its type: one of the two functions is null.
template <class T>
struct SelectionRef {
  const void* selection;
  Index block_size, queries;
  double optimism = 0;
  void (*choose)(const void* selection, const QueryBlock&, BlockSet&) = nullptr;
  void (*choose_ranked)(const void* selection, const QueryBlock&, std::span<RankedBlock<T>>, BlockSet&) = nullptr;

  /// The policy must outlive it.
  template <class Selection>
  explicit SelectionRef(const Selection& policy)
      : selection(std::addressof(policy)), block_size(policy.block_size()), queries(policy.queries()) {
    if constexpr (RankSelection<Selection, T>) {
      optimism = policy.optimism();
      choose_ranked = [](const void* place, const QueryBlock& query, std::span<RankedBlock<T>> blocks, BlockSet& set) {
        static_cast<const Selection*>(place)->choose(query, blocks, set);
      };
    } else {
      choose = [](const void* place, const QueryBlock& query, BlockSet& set) {
        static_cast<const Selection*>(place)->choose(query, set);
      };
    }
  }
  bool ranks() const { return choose_ranked != nullptr; }
};

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
      for_each_panel(query, [&](auto vectors, KeyRange) {
        zero_non_finite_queries(vectors * packet_size<T>);
        score<vectors>(query, {first, first + count - 1}, static_cast<T>(selection_.optimism),
                       [&](Index b) { blocks_[b - first].importance = std::numeric_limits<T>::quiet_NaN(); });
        add_importance<T, vectors>(scores_, count - 1, weight_, blocks_);
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
    for_each_panel(query, [&](auto vectors, KeyRange rows) {
      constexpr int lanes = vectors * packet_size<T>;
      score<vectors>(query, {first, first + count}, T{1}, [](Index) {});
      for (Index b = 0; b < count; ++b) {
        const KeyRange keys =
            intersection(query.keys, {(first + b) * set.block_size(), (first + b + 1) * set.block_size()});
        const T more = set.contains(first + b) ? lowest : static_cast<T>(std::log2(keys.last - keys.first));
        for (int lane = 0; lane < lanes; ++lane) scores_[b * lanes + lane] += more;
      }
      alignas(64) T most[lanes], factor[lanes]{}, max[lanes], total[lanes]{};
      std::fill_n(max, lanes, lowest);
      largest_logits<T, vectors>(scores_, count, most);
      online_softmax<T, vectors>(scores_, count, most, {max, total}, factor);
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
      with_count<register_tile.vectors>(static_cast<int>(lanes / packet_size<T>), [&](auto vectors) {
        f(vectors, KeyRange{row, row + count});
      });
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
  template <int Vectors, class Unknown>
  void score(const QueryBlock& query, KeyRange blocks, T optimism, const Unknown& unknown) {
    constexpr Index lanes = Vectors * packet_size<T>;
    alignas(64) T most[lanes];  // not used
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
        if (!all_finite(bound, 2 * head_dim_)) unknown(first + b);
      }
      multiply_keys<T, Vectors>(bounds_, count, 2 * head_dim_, queries_, scores_ + (first - blocks.first) * lanes, most,
                                {nullptr, nullptr});
    }
    const SoftCap<T> cap(params_.logit_softcap);
    if (cap) mask_scores<T, Vectors>(scores_, blocks.last - blocks.first, LaneRanges<T>{}, cap);
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
