// Sizes of chunks that are worth a try when a model is tuned.
#pragma once

#include <vector>

#include "dca/positions/chunk_layout.hpp"

namespace dca {
namespace detail {

inline void add_if_new(std::vector<ChunkConfig>& sizes, Index chunk_size, Index local_window) {
  if (chunk_size < 1 || local_window < 0 || local_window >= chunk_size) return;
  for (const ChunkConfig& known : sizes) {
    if (known.chunk_size == chunk_size && known.local_window == local_window) return;
  }
  sizes.push_back({.chunk_size = chunk_size, .local_window = local_window});
}

}  // namespace detail

/// Sizes to try, the likeliest first: those of the authors, then other chunk_sizes with their local_window, all within
/// the trained window. Throws std::invalid_argument as ChunkLayout::from_trained_window.
inline std::vector<ChunkConfig> chunk_sizes_to_try(Index trained_window) {
  const auto authors = ChunkLayout::from_trained_window(trained_window);
  std::vector<ChunkConfig> sizes;
  detail::add_if_new(sizes, authors.chunk_size(), authors.local_window());
  for (const Index sixteenths : {8, 14, 10, 6, 15, 4}) {
    // A sixteenth first: the product could overflow.
    const Index chunk_size = trained_window / 16 * sixteenths + trained_window % 16 * sixteenths / 16;
    detail::add_if_new(sizes, chunk_size, authors.local_window());
  }
  return sizes;
}

/// Other local_windows for a chunk_size. Throws as chunk_sizes_to_try.
inline std::vector<ChunkConfig> local_windows_to_try(Index trained_window, Index chunk_size) {
  static_cast<void>(ChunkLayout::from_trained_window(trained_window));
  std::vector<ChunkConfig> sizes;
  for (const Index part : {16, 4, 32, 64}) detail::add_if_new(sizes, chunk_size, trained_window / part);
  detail::add_if_new(sizes, chunk_size, trained_window / 8 * 3 + trained_window % 8 * 3 / 8);
  detail::add_if_new(sizes, chunk_size, 0);
  return sizes;
}

}  // namespace dca
