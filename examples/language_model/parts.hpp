// Attentions that the program compares with Dual Chunk Attention, as compositions of the library.
#pragma once

#include "../remappings.hpp"

namespace dca_lm {

using dca::Index;

/// For the ablation: the keys of all chunks before the query's own, the preceding one included, from the position of
/// the inter-chunk part. Neighbours across a chunk edge lose their distance.
struct AllEarlierChunks {
  using Layout = dca::ChunkLayout;
  using KeyPlacement = dca::ChunkOffset;
  static constexpr bool selectable = true;

  static constexpr Index query_position(const Layout& chunks, Index i) {
    return dca::InterChunk::query_position(chunks, i);
  }
  static constexpr Index key_position(const Layout& chunks, Index j) { return KeyPlacement::position(chunks, j); }
  static constexpr dca::KeyRange keys(const Layout& chunks, Index i) { return {0, i - i % chunks.chunk_len()}; }
};

using IntraAndInterAttention = dca::ComposedAttention<float, AllEarlierChunks, dca::IntraChunk>;
using StreamingAttention = dca::ComposedAttention<float, remappings::SinkTokens, remappings::RecentTokens>;
using SelfExtendAttention = dca::ComposedAttention<float, remappings::GroupedTokens, remappings::NeighbourTokens>;

}  // namespace dca_lm
