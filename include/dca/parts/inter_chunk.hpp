// The part for keys of all older chunks.
#pragma once

#include "dca/positions/chunk_part.hpp"
#include "dca/positions/key_placement.hpp"

namespace dca {

/// The keys of all chunks before the preceding one, from one constant query position: their exact distance is given up,
/// their order within a chunk is kept. That position is 2 * chunk_len - 1, not chunk_size, where
/// local_window >= chunk_len.
struct InterChunk {
  using Layout = ChunkLayout;
  using KeyPlacement = ChunkOffset;
  static constexpr bool selectable = true;

  static constexpr Index query_position(const ChunkLayout& chunks, Index) {
    return std::min(2 * chunks.chunk_len() - 1, chunks.chunk_size());
  }
  static constexpr Index key_position(const ChunkLayout& chunks, Index j) { return KeyPlacement::position(chunks, j); }
  static constexpr KeyRange keys(const ChunkLayout& chunks, Index i) {
    return {0, std::max<Index>(i - i % chunks.chunk_len() - chunks.chunk_len(), 0)};
  }
};

}  // namespace dca
