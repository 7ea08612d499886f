// What kernels read of a call.
#pragma once

#include "dca/kernel/call/logit_scales.hpp"
#include "dca/kernel/call/row_functions.hpp"
#include "dca/kernel/plan/composition.hpp"
#include "dca/kernel/plan/query_tokens.hpp"
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
        write(write_function<T, O>()),
        heads(q.shape[2]),
        head_dim(q.shape[3]),
        v_head_dim(result.shape[3]),
        places(query_places) {}

  TensorRows query;
  RowAccess<T> query_access;
  TensorRows out;
  Index out_bytes;  // of a row
  WriteRow<T> write;
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
};

}  // namespace dca::detail
