// A row of the result.
#pragma once

#include <cmath>
#include <numbers>

#include "dca/kernel/call/attention_call.hpp"
#include "dca/kernel/tile/row_states.hpp"

namespace dca::detail {

/// What a row's sums are multiplied by, and the logarithm of its total.
template <class T>
struct FinishedRow {
  T weight;
  double log_sum;
};

/// A row that visits no keys has the weight 0 and the logarithm -inf; one whose logits are all -inf has no softmax, and
/// both are NaN. The sums may change.
template <class T>
FinishedRow<T> finish_row(const AttentionCall<T>& call, Index head, T* sums, RowSoftmax<T> softmax, bool visits) {
  if (softmax.total == T{0}) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    if (visits) return {static_cast<T>(nan), nan};
    return {T{0}, -std::numeric_limits<double>::infinity()};
  }
  const auto max = static_cast<double>(softmax.max);
  double denominator = static_cast<double>(softmax.total);
  const double log_sum = (max + std::log2(denominator)) * std::numbers::ln2;
  if (call.sink_logits != nullptr) {
    const double above = static_cast<double>(call.sink_logits[head]) * std::numbers::log2e - max;
    denominator += std::exp2(above);
    if (1.0 / denominator < std::numeric_limits<T>::min() && std::isfinite(above)) {
      // The keys' weight, 2^-above, is no normal number, but may be one times a large sum: in two steps.
      const T half = std::max(static_cast<T>(std::exp2(-0.5 * above)), std::numeric_limits<T>::denorm_min());
      multiply_by(half, sums, call.v_head_dim);
      return {half, log_sum};
    }
  }
  return {static_cast<T>(1.0 / denominator), log_sum};
}

/// 2^skipped / (2^skipped + 2^visited).
inline double skipped_share(double skipped_log2, double visited_log2) {
  if (skipped_log2 == -std::numeric_limits<double>::infinity()) return 0.0;
  return 1.0 / (1.0 + std::exp2(visited_log2 - skipped_log2));
}

/// Normalises the sums [v_head_dim] of a row, which may change, and writes them, the row's lse and what it skipped.
template <class T>
void write_row(const AttentionCall<T>& call, const QueryTokens& tokens, Index token, Index head, T* sums,
               RowSoftmax<T> softmax, bool visits) {
  const auto [weight, log_sum] = finish_row(call, head, sums, softmax, visits);
  call.write(sums, weight, call.v_head_dim, call.out_row(tokens, token, head));
  if (call.lse.data != nullptr) *call.row_of(call.lse, tokens, token, head) = static_cast<T>(log_sum);
  if (call.skipped.data != nullptr) {
    T* const share = call.row_of(call.skipped, tokens, token, head);
    *share = static_cast<T>(skipped_share(static_cast<double>(*share), log_sum / std::numbers::ln2));
  }
}

}  // namespace dca::detail
