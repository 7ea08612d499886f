// What a user sets: once per operator, and per call.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "dca/device/scratch.hpp"
#include "dca/positions/block_selection.hpp"
#include "dca/positions/chunk_layout.hpp"
#include "dca/rope/rotary_embedding.hpp"
#include "dca/tensor/tensor_view.hpp"

namespace dca {

/// Fixed when an operator is made. Fill with designated initialisers.
///
/// logit of (i, j) = s, or logit_softcap * tanh(s / logit_softcap) where a cap is given, with
/// s = softmax_scale * <R(query_position(i)) q_i, R(key_position(j)) k_j>.
///
/// Query features are multiplied by softmax_scale * log2(e), rotated ones also by the square of the attention factor.
/// These factors must be normal numbers of the scalar of the arithmetic (in float 1.2e-38 to 3.4e38 in magnitude), or
/// operator or call throw. A softmax_scale of 0 gives all keys the same weight. A cap above 2^127 (in double 2^1023)
/// counts as none; one that, times log2(e), is below the smallest normal number is refused.
template <class Layout>
struct AttentionConfig {
  Layout chunks = {};  // required for ChunkLayout; leave out for Unchunked
  RotaryEmbedding rope;
  std::optional<double> softmax_scale{};  // default 1 / sqrt(head_dim); finite
  std::optional<double> logit_softcap{};  // default none; positive and finite
};

/// Optional arguments of one call.
template <class T>
struct CallOptions {
  /// Absolute position of query row 0 of each sequence, counted from 0. Default kv_len - q_len: the last query is the
  /// newest token.
  std::optional<Index> q_offset{};
  /// Where to write the natural log of the sum of exp(logit) over the keys alone, [batch, q_len, heads].
  TensorView<T> lse{};
  /// One logit per head, [heads], that adds to the softmax's denominator and has no value; not part of lse.
  std::span<const T> sink_logits{};
  /// For ragged batches, query [total, heads, head_dim]: sequence s has its rows [cu_seqlens[s], cu_seqlens[s + 1]).
  std::span<const Index> cu_seqlens{};
  /// Memory to work in, kept from call to call; default the device's allocator.
  Workspace* workspace = nullptr;
  /// Where to write an upper bound of the share of softmax mass that a policy skips, from 0 to 1, [batch, q_len,
  /// heads], by bounds of the blocks' logits. Costs about as much as the choice.
  TensorView<T> skipped{};
  /// Where to append what was chosen, by sequence, block of queries and kv_head. Nothing with AllChunks.
  std::vector<ChosenBlocks>* chosen = nullptr;
};

}  // namespace dca
