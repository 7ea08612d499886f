// What the kernel reads of a call, and how it writes a row of the result.
#pragma once

#include <cmath>
#include <numbers>
#include <optional>
#include <span>

#include "dca/kernel/row_packets.hpp"
#include "dca/rope/rotary_embedding.hpp"
#include "dca/tensor/tensor_view.hpp"

namespace dca::detail {

/// What stays the same from call to call. logit_softcap 0 means none.
template <class Layout>
struct AttentionParams {
  const Layout& chunks;
  const RotaryEmbedding& rope;
  double softmax_scale;
  double logit_softcap;
};

/// The queries of one sequence: `count` tokens from `first` on in batch `batch` of the call's tensors, the first of
/// them at absolute position `position`.
struct QueryRun {
  Index batch;
  Index first;
  Index count;
  Index position;
};

/// State of a row after its last key, in units of log2: see SoftmaxState.
template <class T>
struct RowSoftmax {
  T max;
  T total;
};

/// The arguments of one call, checked, with a batch dimension: query [batch, q_len, heads, head_dim], out
/// [batch, q_len, heads, v_head_dim], lse and skipped [batch, q_len, heads] or no data, sink_logits [heads] or null.
/// cu_seqlens is empty where every batch is a sequence; otherwise there is one batch, and it tells where its sequences
/// begin. skipped holds, until a row is written, the log2 of what the keys that the row leaves out can add to its
/// total.
template <class T, class Q, class O>
struct AttentionCall {
  TensorView<const Q> query;
  TensorView<O> out;
  TensorView<T> lse;
  TensorView<T> skipped;
  const T* sink_logits;
  std::optional<Index> q_offset;
  std::span<const Index> cu_seqlens;

  /// The queries of a sequence with kv_len keys: its last tokens, unless the call says otherwise.
  QueryRun queries(Index sequence, Index kv_len) const {
    QueryRun run{sequence, 0, query.shape[1], 0};
    if (!cu_seqlens.empty()) {
      const auto s = static_cast<std::size_t>(sequence);
      run = {0, cu_seqlens[s], cu_seqlens[s + 1] - cu_seqlens[s], 0};
    }
    run.position = q_offset.value_or(kv_len - run.count);
    return run;
  }

  /// Query row `token` of a run.
  const Q* query_row(const QueryRun& run, Index token, Index head) const {
    return query.data + run.batch * query.strides[0] + (run.first + token) * query.strides[1] + head * query.strides[2];
  }

  /// Row `token` of the result of a run.
  O* out_row(const QueryRun& run, Index token, Index head) const {
    return out.data + run.batch * out.strides[0] + (run.first + token) * out.strides[1] + head * out.strides[2];
  }

  /// A row's place in a tensor [batch, q_len, heads].
  T* row_of(const TensorView<T>& x, const QueryRun& run, Index token, Index head) const {
    return x.data + run.batch * x.strides[0] + (run.first + token) * x.strides[1] + head * x.strides[2];
  }

  /// Normalises the sums [v_head_dim] of a row, and writes them and the row's lse. A row that visits no keys gives 0
  /// and -inf; one whose logits are all -inf has no softmax, and gives NaN.
  void write_row(const QueryRun& run, Index token, Index head, const T* sums, RowSoftmax<T> softmax,
                 bool visits) const {
    const auto [weight, log_sum] = finish(head, softmax, visits);
    O* const place = out_row(run, token, head);
    write_scaled(sums, weight, out.shape[3], place);
    if (lse.data != nullptr) *row_of(lse, run, token, head) = static_cast<T>(log_sum);
    if (skipped.data != nullptr) {
      T* const share = row_of(skipped, run, token, head);
      *share = static_cast<T>(skipped_share(static_cast<double>(*share), log_sum / std::numbers::ln2));
    }
  }

 private:
  struct Finished {
    T weight;  // what a row's sums are multiplied by
    double log_sum;
  };

  /// 2^skipped / (2^skipped + 2^visited).
  static double skipped_share(double skipped_log2, double visited_log2) {
    if (skipped_log2 == -std::numeric_limits<double>::infinity()) return 0.0;
    return 1.0 / (1.0 + std::exp2(visited_log2 - skipped_log2));
  }

  Finished finish(Index head, RowSoftmax<T> softmax, bool visits) const {
    if (softmax.total == T{0}) {
      const double nan = std::numeric_limits<double>::quiet_NaN();
      return visits ? Finished{static_cast<T>(nan), nan} : Finished{T{0}, -std::numeric_limits<double>::infinity()};
    }
    const auto max = static_cast<double>(softmax.max);
    double denominator = static_cast<double>(softmax.total);
    const double log_sum = (max + std::log2(denominator)) * std::numbers::ln2;
    if (sink_logits != nullptr) {
      denominator += std::exp2(static_cast<double>(sink_logits[head]) * std::numbers::log2e - max);
    }
    return {static_cast<T>(1.0 / denominator), log_sum};
  }
};

}  // namespace dca::detail
