// What kernels read of a call.
#pragma once

#include "dca/kernel/call/logit_scales.hpp"
#include "dca/kernel/call/row_functions.hpp"
#include "dca/kernel/plan/composition.hpp"
#include "dca/kernel/plan/query_tokens.hpp"
#include "dca/rope/rotary_embedding.hpp"
#include "dca/tensor/checks.hpp"

namespace dca::detail {

/// What stays the same from call to call. logit_softcap 0 means none.
struct AttentionParams {
  Composition composition;
  const RotaryEmbedding& rope;
  LogitScales scales;
  double logit_softcap;
};

/// A tensor of queries [batch, q_len, heads, head_dim], and how its rows become numbers of T.
template <class T>
struct QueryTensor : AnyTensor {
  DecodeRow<T> decode;  // null where they are

  QueryTensor(const AnyTensor& x, DecodeRow<T> decode_row) : AnyTensor(x), decode(decode_row) {}
  template <class Q>
  explicit QueryTensor(const TensorView<Q>& x)
      : QueryTensor(AnyTensor(x), decode_function<T, std::remove_const_t<Q>>()) {}
};

/// A tensor of results [batch, q_len, heads, v_head_dim], and how its rows are written.
template <class T>
struct OutTensor : AnyTensor {
  WriteRow<T> write;

  OutTensor(const AnyTensor& x, WriteRow<T> write_row) : AnyTensor(x), write(write_row) {}
  template <class O>
  explicit OutTensor(const TensorView<O>& x) : OutTensor(AnyTensor(x), write_function<T, O>()) {}
};

/// The arguments of one call, checked, with a batch dimension: query [batch, q_len, heads, head_dim], out
/// [batch, q_len, heads, v_head_dim], lse and skipped [batch, q_len, heads] or no data, sink_logits [heads] or null.
/// skipped holds, until a row is written, the log2 of what the keys that the row leaves out can add to its total.
template <class T>
struct AttentionCall {
  AttentionCall(const QueryTensor<T>& q, const OutTensor<T>& result, QueryPlaces query_places)
      : query(q),
        query_access{q.shape[3] * q.size, 1, q.decode},
        out(result),
        out_bytes(result.shape[3] * result.size),
        write(result.write),
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
