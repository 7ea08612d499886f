// What can be wrong with the arguments of a call, whatever their types.
#pragma once

#include "dca/kernel/call/logit_scales.hpp"
#include "dca/kernel/call/selection_ref.hpp"
#include "dca/kernel/plan/query_tokens.hpp"
#include "dca/kv/key_value_tensors.hpp"
#include "dca/tensor/checks.hpp"

namespace dca::detail {

/// Sizes of a call's keys and values.
struct SourceSizes {
  Index sequences, kv_heads, head_dim, v_head_dim;
};

inline void check_dim(const char* argument, const char* what, Index dim) {
  if (dim > most_size) fail(argument, Text(what) + " " + to_text(dim), "must be at most " + to_text(most_size));
}

inline void check_shapes(const Extents& query, const SourceSizes& source, const Extents& out, Index rotary_dim) {
  check_equal("out", "batch", out[0], "query", query[0]);
  check_equal("out", "length", out[1], "query", query[1]);
  check_equal("out", "heads", out[2], "query", query[2]);
  check_equal("key", "head_dim", source.head_dim, "query", query[3]);
  check_equal("out", "v_head_dim", out[3], "value", source.v_head_dim);
  if (query[2] % source.kv_heads != 0) {
    fail("key", to_text(source.kv_heads) + " kv_heads do not divide the " + to_text(query[2]) + " heads of query",
         "heads must be a multiple of kv_heads");
  }
  if (rotary_dim > query[3]) {
    fail("rotary_dim", to_text(rotary_dim), "must be at most head_dim, " + to_text(query[3]));
  }
  check_dim("query", "head_dim", query[3]);
  check_dim("value", "v_head_dim", source.v_head_dim);
}

/// `length(sequence)` is the number of a sequence's keys.
inline void check_sequences(const QueryPlaces& queries, Index batch, Index sequences,
                            FunctionRef<Index(Index)> length) {
  if (queries.cu_seqlens.empty()) {
    check_equal("key", "batch", sequences, "query", batch);
  } else {
    check_equal("query", "batch", batch, "a ragged tensor", 1);
    check_cu_seqlens("cu_seqlens", queries.cu_seqlens, queries.q_len);
    check_equal("cu_seqlens", "sequences", static_cast<Index>(queries.cu_seqlens.size()) - 1, "key", sequences);
  }
  for (Index sequence = 0; sequence < sequences; ++sequence) {
    const Index kv_len = length(sequence);
    const QueryTokens tokens = queries.tokens(sequence, kv_len);
    if (!queries.q_offset && tokens.count > kv_len) {
      fail("query", to_text(tokens.count) + " rows", "must be at most kv_len, " + to_text(kv_len));
    }
    if (tokens.position < 0 || tokens.count > kv_len || tokens.position > kv_len - tokens.count) {
      fail("q_offset", to_text(tokens.position) + " with " + to_text(tokens.count) + " query rows",
           "must be at least 0, and q_offset + q_len at most kv_len, " + to_text(kv_len));
    }
  }
}

template <class T>
const T* checked_sinks(std::span<const T> sinks, Index heads) {
  if (sinks.empty()) return nullptr;
  check_equal("sink_logits", "size", static_cast<Index>(sinks.size()), "heads", heads);
  return sinks.data();
}

/// An optional output [batch, q_len, heads].
template <class T>
TensorView<T> checked_rows(const char* argument, TensorView<T> x, const Extents& query) {
  if (x.data == nullptr && x.shape.rank() == 0) return {};
  x = checked_view(argument, x, 3, false);
  check_equal(argument, "batch", x.shape[0], "query", query[0]);
  check_equal(argument, "length", x.shape[1], "query", query[1]);
  check_equal(argument, "heads", x.shape[2], "query", query[2]);
  return x;
}

/// An output, as far as memory is concerned; `view` null where it is not wanted.
struct Written {
  const char* name;
  ByteRange bytes;
  Extents shape, strides;
};

inline Written written_by(const char* name, const AnyTensor& x) {
  return {name, x.data == nullptr ? ByteRange{nullptr, nullptr} : byte_range(x), x.shape, x.strides};
}

/// Outputs must overlap neither inputs nor each other nor themselves.
inline void check_memory(std::span<const NamedRange> inputs, std::span<const Written> outputs) {
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    const Written& output = outputs[k];
    if (output.bytes.first == nullptr) continue;
    for (const auto& [name, bytes] : inputs) check_disjoint(output.name, output.bytes, name, bytes);
    for (const Written& other : outputs.first(k)) check_disjoint(output.name, output.bytes, other.name, other.bytes);
    check_no_self_overlap(output.name, output.shape, output.strides);
  }
}

/// Sizes of a policy's choices, its optimism where it ranks blocks, and what it checks itself.
template <class T>
void check_selection(const SelectionRef<T>& selection) {
  check_size("selection block_size", selection.block_size, 1);
  check_size("selection queries", selection.queries, 1);
  if (selection.ranks() && !(selection.optimism >= 0 && selection.optimism <= 1)) {
    fail("selection optimism", to_text(selection.optimism), "must be from 0 to 1");
  }
  if (selection.check != nullptr) selection.check(selection.selection);
}

}  // namespace dca::detail
