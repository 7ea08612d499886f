// Attention on caches and ragged batches, compiled once for tests to link.
#pragma once

#include "support/attend.hpp"

namespace dca_test {

/// What caches of one storage, contiguous or paged, give an operator.
template <class K, class Placement = dca::ChunkOffset, class V = K>
using CacheView = dca::PagedKeyValues<dca::BlockPool<K, Placement, V>>;

/// Calls `attention` on the keys and values of a source. Defined in attend_source.cpp for DualChunkAttention of T on
/// CacheView<T>; and of float for CacheView<Int8, ChunkOffset, half>, CacheView<Int4, ChunkOffset, bfloat16> and
/// RaggedKeyValues; for CausalAttention<float> on CacheView<float, AbsolutePosition>. For others include
/// attend_source_definition.hpp.
template <class Attention, class Source, class T>
void attend_source(const Attention& attention, const AnyDevice& device, dca::TensorView<const T> query,
                   const Source& source, dca::TensorView<T> out, const dca::CallOptions<T>& options = {});

}  // namespace dca_test
