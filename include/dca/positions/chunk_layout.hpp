// How a sequence is cut into chunks: integers only.
#pragma once

#include <limits>
#include <optional>

#include "dca/tensor/index.hpp"

namespace dca {

/// The two numbers of Dual Chunk Attention, named and counted as in the authors' code and in the
/// `dual_chunk_attention_config` of shipped models.
///
/// chunk_size: the largest rotary position that a query may take (inclusive), in tokens. The paper's c is chunk_size
/// + 1. local_window: tokens over which exact neighbour distances survive a chunk edge. 0 is legal.
struct ChunkConfig {
  Index chunk_size = 0;     // required: at least 1
  Index local_window = -1;  // required: at least 0
};

/// The fields of a model's `dual_chunk_attention_config`. A missing chunk_size or local_size takes its default from
/// original_max_position_embeddings, the trained window.
struct DualChunkAttentionConfig {
  std::optional<Index> chunk_size{};
  std::optional<Index> local_size{};
  std::optional<Index> original_max_position_embeddings{};
};

/// A checked ChunkConfig. Chunk `m` holds the tokens [m * chunk_len, (m + 1) * chunk_len), counted from 0.
class ChunkLayout {
 public:
  /// Throws std::invalid_argument unless 1 <= chunk_size and 0 <= local_window < chunk_size.
  constexpr ChunkLayout(ChunkConfig config) : chunk_size_(config.chunk_size), chunk_len_(checked_chunk_len(config)) {}

  /// The authors' defaults for a model trained on windows of `window` tokens: chunk_size 3/4 of it, local_window 1/8.
  /// Throws std::invalid_argument where window < 2.
  static constexpr ChunkLayout from_trained_window(Index window) {
    return ChunkConfig{.chunk_size = default_chunk_size(window), .local_window = window / 8};
  }

  /// Throws std::invalid_argument where a field is out of range, or missing with nothing to take its default from.
  static constexpr ChunkLayout from_model_config(const DualChunkAttentionConfig& config) {
    const std::optional<Index>& window = config.original_max_position_embeddings;
    if (!window && (!config.chunk_size || !config.local_size)) {
      detail::fail("dual_chunk_attention_config", "no original_max_position_embeddings",
                   "it is needed where chunk_size or local_size is missing");
    }
    return ChunkConfig{.chunk_size = config.chunk_size ? *config.chunk_size : default_chunk_size(*window),
                       .local_window = config.local_size ? *config.local_size : *window / 8};
  }

  constexpr Index chunk_size() const { return chunk_size_; }
  constexpr Index local_window() const { return chunk_size_ - chunk_len_; }

  /// Stride of the chunks, chunk_size - local_window, in tokens; at least 1.
  constexpr Index chunk_len() const { return chunk_len_; }

  friend constexpr bool operator==(const ChunkLayout&, const ChunkLayout&) = default;

 private:
  // Twice a chunk is the largest sum of positions that is ever taken.
  static constexpr Index max_chunk_size = std::numeric_limits<Index>::max() / 4;

  static constexpr Index default_chunk_size(Index window) {
    if (window < 2 || window > max_chunk_size) {
      detail::fail("trained window", detail::to_text(window) + " tokens",
                   "must be at least 2 and at most " + detail::to_text(max_chunk_size));
    }
    return window / 4 * 3 + window % 4 * 3 / 4;
  }

  static constexpr Index checked_chunk_len(ChunkConfig config) {
    if (config.chunk_size < 1 || config.chunk_size > max_chunk_size) {
      detail::fail("chunk_size", detail::to_text(config.chunk_size),
                   "must be at least 1 and at most " + detail::to_text(max_chunk_size));
    }
    if (config.local_window < 0 || config.local_window >= config.chunk_size) {
      detail::fail("local_window", detail::to_text(config.local_window),
                   "must be at least 0 and less than chunk_size, " + detail::to_text(config.chunk_size));
    }
    return config.chunk_size - config.local_window;
  }

  Index chunk_size_;
  Index chunk_len_;
};

/// The layout of parts without chunks.
struct Unchunked {
  friend constexpr bool operator==(const Unchunked&, const Unchunked&) = default;
};

}  // namespace dca
