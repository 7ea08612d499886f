#pragma once

#include "dca/positions/chunk_part.hpp"

namespace dca {

/// The keys of the query's own chunk, up to and including itself, at their true distances.
struct IntraChunk {
  using Layout = ChunkLayout;

  static constexpr Index query_position(const ChunkLayout& chunks, Index i) { return i % chunks.chunk_len(); }
  static constexpr Index key_position(const ChunkLayout& chunks, Index j) { return j % chunks.chunk_len(); }
  static constexpr KeyRange keys(const ChunkLayout& chunks, Index i) { return {i - i % chunks.chunk_len(), i + 1}; }
};

}  // namespace dca
