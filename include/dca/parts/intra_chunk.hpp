// The part for keys of the query's own chunk.
#pragma once

#include "dca/positions/chunk_part.hpp"
#include "dca/positions/key_placement.hpp"

namespace dca {

/// The keys of the query's own chunk, up to and including itself, at their true distances.
struct IntraChunk {
  using Layout = ChunkLayout;
  using KeyPlacement = ChunkOffset;

  static constexpr Index query_position(const ChunkLayout& chunks, Index i) { return i % chunks.chunk_len(); }
  static constexpr Index key_position(const ChunkLayout& chunks, Index j) { return KeyPlacement::position(chunks, j); }
  static constexpr KeyRange keys(const ChunkLayout& chunks, Index i) { return {i - i % chunks.chunk_len(), i + 1}; }
};

}  // namespace dca
