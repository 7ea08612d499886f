// Parts of the attentions that the program compares with Dual Chunk Attention.
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

}  // namespace dca_lm
