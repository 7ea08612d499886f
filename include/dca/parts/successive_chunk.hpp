// The part for keys of the chunk before.
#pragma once

#include "dca/positions/chunk_part.hpp"
#include "dca/positions/key_placement.hpp"

namespace dca {

/// The keys of the chunk before the query's. The first local_window + 1 queries of a chunk see them at their true
/// distance; for later ones the query's position stops at chunk_size (inclusive).
struct SuccessiveChunk {
  using Layout = ChunkLayout;
  using KeyPlacement = ChunkOffset;

  static constexpr Index query_position(const ChunkLayout& chunks, Index i) {
    return std::min(i % chunks.chunk_len() + chunks.chunk_len(), chunks.chunk_size());
  }
  static constexpr Index key_position(const ChunkLayout& chunks, Index j) { return KeyPlacement::position(chunks, j); }
  static constexpr KeyRange keys(const ChunkLayout& chunks, Index i) {
    const Index start = i - i % chunks.chunk_len();
    return {std::max<Index>(start - chunks.chunk_len(), 0), start};
  }
};

}  // namespace dca
