// What the kernel reads of a call, and how it writes a row of the result.
#pragma once

#include <cmath>
#include <numbers>

#include "dca/kernel/machine/row_access.hpp"
#include "dca/kernel/plan/composition.hpp"
#include "dca/kernel/plan/query_tokens.hpp"
#include "dca/kernel/tile/logit_scales.hpp"
#include "dca/kernel/tile/row_states.hpp"
#include "dca/rope/rotary_embedding.hpp"
#include "dca/tensor/tensor_view.hpp"

namespace dca::detail {

/// What stays the same from call to call. logit_softcap 0 means none.
struct AttentionParams {
  Composition composition;
  const RotaryEmbedding& rope;
  LogitScales scales;
  double logit_softcap;
};

/// Rows [batch, length, heads, features] of a tensor. Strides are in bytes.
struct TensorRows {
  std::byte* data;
  Index strides[3];

  template <class X>
  explicit TensorRows(const TensorView<X>& x)
      : data(reinterpret_cast<std::byte*>(const_cast<std::remove_const_t<X>*>(x.data))),
        strides{x.strides[0] * size_of<X>, x.strides[1] * size_of<X>, x.strides[2] * size_of<X>} {}

  std::byte* row(Index batch, Index token, Index head) const {
    return data + batch * strides[0] + token * strides[1] + head * strides[2];
  }

 private:
  template <class X>
  static constexpr Index size_of = sizeof(X);
};

/// The arguments of one call, checked, with a batch dimension: query [batch, q_len, heads, head_dim], out
/// [batch, q_len, heads, v_head_dim], lse and skipped [batch, q_len, heads] or no data, sink_logits [heads] or null.
/// skipped holds, until a row is written, the log2 of what the keys that the row leaves out can add to its total.
template <class T>
struct AttentionCall {
  template <class Q, class O>
  AttentionCall(TensorView<const Q> q, TensorView<O> result, QueryPlaces query_places)
      : query(q),
        query_access(row_access<T, Q>(q.shape[3])),
        out(result),
        out_bytes(result.shape[3] * static_cast<Index>(sizeof(O))),
        write([](const T* sums, T weight, Index features, std::byte* row) {
          write_scaled(sums, weight, features, reinterpret_cast<O*>(row));
        }),
        heads(q.shape[2]),
        head_dim(q.shape[3]),
        v_head_dim(result.shape[3]),
        places(query_places) {}

  TensorRows query;
  RowAccess<T> query_access;
  TensorRows out;
  Index out_bytes;  // of a row
  void (*write)(const T* sums, T weight, Index features, std::byte* row);
  Index heads, head_dim, v_head_dim;
  QueryPlaces places;
  TensorView<T> lse{};
  TensorView<T> skipped{};
  const T* sink_logits = nullptr;

  /// Query row `token` of a sequence.
  const std::byte* query_row(const QueryTokens& tokens, Index token, Index head) const {
    return query.row(tokens.batch, tokens.first + token, head);
  }

  /// Row `token` of the result of a sequence.
  std::byte* out_row(const QueryTokens& tokens, Index token, Index head) const {
    return out.row(tokens.batch, tokens.first + token, head);
  }

  /// A row's place in a tensor [batch, q_len, heads].
  T* row_of(const TensorView<T>& x, const QueryTokens& tokens, Index token, Index head) const {
    return x.data + tokens.batch * x.strides[0] + (tokens.first + token) * x.strides[1] + head * x.strides[2];
  }

  /// Normalises the sums [v_head_dim] of a row, which may change, and writes them and the row's lse. A row that visits
  /// no keys gives 0 and -inf; one whose logits are all -inf has no softmax, and gives NaN.
  void write_row(const QueryTokens& tokens, Index token, Index head, T* sums, RowSoftmax<T> softmax,
                 bool visits) const {
    const auto [weight, log_sum] = finish(head, softmax, visits, sums);
    write(sums, weight, v_head_dim, out_row(tokens, token, head));
    if (lse.data != nullptr) *row_of(lse, tokens, token, head) = static_cast<T>(log_sum);
    if (skipped.data != nullptr) {
      T* const share = row_of(skipped, tokens, token, head);
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

  Finished finish(Index head, RowSoftmax<T> softmax, bool visits, T* sums) const {
    if (softmax.total == T{0}) {
      const double nan = std::numeric_limits<double>::quiet_NaN();
      return visits ? Finished{static_cast<T>(nan), nan} : Finished{T{0}, -std::numeric_limits<double>::infinity()};
    }
    const auto max = static_cast<double>(softmax.max);
    double denominator = static_cast<double>(softmax.total);
    const double log_sum = (max + std::log2(denominator)) * std::numbers::ln2;
    if (sink_logits != nullptr) {
      const double above = static_cast<double>(sink_logits[head]) * std::numbers::log2e - max;
      denominator += std::exp2(above);
      if (1.0 / denominator < std::numeric_limits<T>::min() && std::isfinite(above)) {
        // The keys' weight, 2^-above, is no normal number, but may be one times a large sum: in two steps.
        const T half = std::max(static_cast<T>(std::exp2(-0.5 * above)), std::numeric_limits<T>::denorm_min());
        multiply_by(half, sums, v_head_dim);
        return {half, log_sum};
      }
    }
    return {static_cast<T>(1.0 / denominator), log_sum};
  }
};

}  // namespace dca::detail
