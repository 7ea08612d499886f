// The query tokens of a call, by sequence.
#pragma once

#include <optional>
#include <span>

#include "dca/device/function_ref.hpp"
#include "dca/tensor/index.hpp"

namespace dca::detail {

/// The query tokens of one sequence: `count` from `first` on in batch `batch` of the call's tensors, the first of
/// them at absolute position `position`.
struct QueryTokens {
  Index batch;
  Index first;
  Index count;
  Index position;
};

/// Where a call's queries are and stand. cu_seqlens is empty where every batch is a sequence; otherwise there is one
/// batch, and it tells where its sequences begin.
struct QueryPlaces {
  Index q_len;
  std::optional<Index> q_offset;
  std::span<const Index> cu_seqlens;

  /// The queries of a sequence with kv_len keys: its last tokens, unless the call says otherwise.
  QueryTokens tokens(Index sequence, Index kv_len) const {
    QueryTokens tokens{sequence, 0, q_len, 0};
    if (!cu_seqlens.empty()) {
      const auto s = static_cast<std::size_t>(sequence);
      tokens = {0, cu_seqlens[s], cu_seqlens[s + 1] - cu_seqlens[s], 0};
    }
    tokens.position = q_offset.value_or(kv_len - tokens.count);
    return tokens;
  }
};

/// The query tokens of a sequence.
using QueryTokensOf = FunctionRef<QueryTokens(Index sequence)>;

/// Rows of a sequence and kv_head up to which the streamed products are the faster ones.
inline constexpr Index most_streamed_rows = 24;

/// Whether so many rows of a sequence and kv_head all meet their keys through streamed products.
constexpr bool is_streamed(Index rows) { return rows <= most_streamed_rows; }

/// Rows of a sequence and kv_head up to which a task is a piece of the keys and not a run of rows, of which there
/// would be too few for the threads.
inline constexpr Index most_split_rows = 64;

}  // namespace dca::detail
