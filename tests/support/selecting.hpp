// Attention where a policy chooses the keys of distant chunks, and the definition with the same choice.
#pragma once

#include "support/caches.hpp"

namespace dca_test {

/// A result with what was chosen and the bound of what was left out, and how a call wants them.
template <class T>
struct Selected {
  Outputs<T> outputs;
  std::vector<T> skipped;
  std::vector<dca::ChosenBlocks> chosen{};
};

/// The queries of a problem under a policy, on the keys and values of a source.
template <class T, class Source, class Selection, class Device = Eigen::DefaultDevice>
Selected<T> select_on(const dca::DualChunkAttention<T>& attention, const Inputs<T>& in, const Source& source,
                      const Selection& selection, dca::CallOptions<T> options = {}, const Device& device = {}) {
  Selected<T> result{Outputs<T>(in), {}};
  result.skipped.assign(result.outputs.lse.size(), std::numeric_limits<T>::quiet_NaN());
  options.lse = result.outputs.lse_view();
  options.skipped = dca::contiguous(result.skipped.data(), in.lse_shape());
  options.chosen = &result.chosen;
  attention(device, in.operands().query, source, result.outputs.out_view(), options, selection);
  return result;
}

/// The same on the problem's own keys and values.
template <class T, class Selection, class Device = Eigen::DefaultDevice>
Selected<T> select(const dca::DualChunkAttention<T>& attention, const Inputs<T>& in, const Selection& selection,
                   const dca::CallOptions<T>& options = {}, const Device& device = {}) {
  const Operands<T> x = in.operands();
  return select_on(attention, in, dca::DenseKeyValues<T, T>(x.key, x.value), selection, options, device);
}

/// Dual Chunk Attention's positions with the far keys that a sequence and kv_head chose: block by block, written anew.
inline reference::PositionMatrix chosen_positions(dca::ChunkConfig chunks, std::vector<dca::ChosenBlocks> chosen,
                                                  Index block_size, Index sequence = 0, Index kv_head = 0) {
  const auto all = reference::dual_chunk(chunks.chunk_size, chunks.local_window);
  const Index chunk_len = chunks.chunk_size - chunks.local_window;
  return [=, chosen = std::move(chosen)](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    if (j > i || i / chunk_len - j / chunk_len < 2) return all(i, j);
    for (const dca::ChosenBlocks& one : chosen) {
      const auto& [s, head, queries, keys] = one.query;
      if (s != sequence || head != kv_head || i < queries.first || i >= queries.last) continue;
      for (const Index block : one.blocks) {
        if (j / block_size == block) return all(i, j);
      }
      return std::nullopt;
    }
    return all(-1, 0);  // a query without a record sees nothing: that would be an error, and shows as one
  };
}

}  // namespace dca_test
