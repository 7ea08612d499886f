// Caches filled from problems, and attention on them.
#pragma once

#include "support/problem.hpp"

namespace dca_test {

inline dca::CacheShape cache_shape(const Sizes& sizes) {
  return {.kv_heads = sizes.kv_heads, .head_dim = sizes.head_dim, .v_head_dim = sizes.v_head_dim};
}

/// Appends tokens [first, first + count) of batch entry b to a sequence of a cache.
template <class Cache, class T, class Device = Eigen::DefaultDevice>
void append_tokens(Cache& cache, Index sequence, const Inputs<T>& in, Index b, Index first, Index count,
                   const Device& device = {}) {
  const Operands<T> whole = in.operands();
  cache.append(device, sequence, whole.key.slice(1, first, count).entry(b),
               whole.value.slice(1, first, count).entry(b));
}

/// A contiguous cache of E with all tokens of a problem, batch entry b in sequence b.
template <class E, class T>
dca::KeyValueCache<E> filled_cache(const dca::DualChunkAttention<T>& attention, const Inputs<T>& in) {
  auto cache = attention.template make_cache<E>(cache_shape(in.sizes), std::max<Index>(in.sizes.batch, 1),
                                                {.tokens = std::max<Index>(in.sizes.kv_len, 1)});
  cache.append(Eigen::DefaultDevice{}, in.operands().key, in.operands().value);
  return cache;
}

/// The queries of a problem on the keys and values of a source, with lse.
template <class Attention, class T, class Source, class Device = Eigen::DefaultDevice>
Outputs<T> run_on(const Attention& attention, const Inputs<T>& in, const Source& source,
                  dca::CallOptions<T> options = {}, const Device& device = {}) {
  Outputs<T> outputs(in);
  options.lse = outputs.lse_view();
  attention(device, in.operands().query, source, outputs.out_view(), options);
  return outputs;
}

/// A problem of batch entry b alone, with the first kv_len tokens and the queries of the last q_len rows.
template <class T>
Inputs<T> entry_of(const Inputs<T>& in, Index b, Index q_len, Index kv_len) {
  Inputs<T> part = in;
  part.sizes.batch = 1;
  part.sizes.q_len = q_len;
  part.sizes.kv_len = kv_len;
  const auto cut = [b](std::vector<T>& x, Index rows, Index first, Index count, Index row) {
    const auto begin = x.begin() + (b * rows + first) * row;
    x = std::vector<T>(begin, begin + count * row);
  };
  const Sizes& s = in.sizes;
  cut(part.query, s.q_len, s.q_len - q_len, q_len, s.heads * s.head_dim);
  cut(part.key, s.kv_len, 0, kv_len, s.kv_heads * s.head_dim);
  cut(part.value, s.kv_len, 0, kv_len, s.kv_heads * s.v_head_dim);
  return part;
}

/// The definition's answer where the queries are the last tokens.
template <class T>
reference::Result dual_chunk_reference(const Inputs<T>& in, dca::ChunkConfig chunks, const reference::Rope& rope,
                                       reference::Options options = {}) {
  options.q_offset = in.sizes.kv_len - in.sizes.q_len;
  return reference_of(in, reference::dual_chunk(chunks.chunk_size, chunks.local_window), rope, options);
}

}  // namespace dca_test
