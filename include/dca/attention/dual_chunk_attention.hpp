// Dual Chunk Attention and its functors by name.
#pragma once

#include "dca/attention/composed_attention.hpp"
#include "dca/parts/inter_chunk.hpp"
#include "dca/parts/intra_chunk.hpp"
#include "dca/parts/successive_chunk.hpp"
#include "dca/parts/whole_sequence.hpp"

namespace dca {

/// Dual Chunk Attention (An et al. 2024, arXiv:2402.17463): each key is seen through the part that its chunk's distance
/// from the query's chunk selects, so that no query meets a relative position beyond chunk_size.
template <class T>
using DualChunkAttention = ComposedAttention<T, InterChunk, SuccessiveChunk, IntraChunk>;

/// One part alone, for partial states (out, lse).
template <class T>
using IntraChunkAttention = ComposedAttention<T, IntraChunk>;
template <class T>
using SuccessiveChunkAttention = ComposedAttention<T, SuccessiveChunk>;
template <class T>
using InterChunkAttention = ComposedAttention<T, InterChunk>;

/// Plain causal RoPE attention: the same kernel with one part.
template <class T>
using CausalAttention = ComposedAttention<T, WholeSequence>;

namespace detail {

/// The three ranges partition [0, i] for every query i.
constexpr bool parts_partition_the_past(ChunkConfig config, Index length) {
  const ChunkLayout chunks(config);
  for (Index i = 0; i < length; ++i) {
    const KeyRange inter = InterChunk::keys(chunks, i), before = SuccessiveChunk::keys(chunks, i);
    const KeyRange own = IntraChunk::keys(chunks, i);
    if (inter.first != 0 || inter.last != before.first || before.last != own.first || own.last != i + 1) return false;
  }
  return true;
}
static_assert(parts_partition_the_past({.chunk_size = 12, .local_window = 4}, 64));
static_assert(parts_partition_the_past({.chunk_size = 5, .local_window = 4}, 16));
static_assert(parts_partition_the_past({.chunk_size = 8, .local_window = 0}, 64));

}  // namespace detail
}  // namespace dca
