// Attention where a policy chooses the keys of distant chunks, and the definition with the same choice.
#pragma once

#include <stdexcept>

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

/// A result against the definition with the choice that it reports, where there is one kv_head; empty if it is right.
template <class T, class Selection>
std::string check_chosen(const Inputs<T>& in, dca::ChunkConfig config, const Selection& selection) {
  const Ropes ropes = make_ropes(16);
  const dca::DualChunkAttention<T> attention({.chunks = config, .rope = ropes.library});
  const Selected<T> actual = select(attention, in, selection);
  const auto positions = chosen_positions(config, actual.chosen, selection.block_size());
  return difference(actual.outputs,
                    reference_of(in, positions, ropes.reference, {.q_offset = in.sizes.kv_len - in.sizes.q_len}));
}

/// A user's own policy: every `step`th block from `first` on, by place alone. It throws where there is no step.
struct EveryNth {
  Index step;
  Index block;
  Index first = 0;
  Index block_size() const { return block; }
  Index queries() const { return 33; }
  void choose(const dca::QueryBlock&, dca::BlockSet& set) const {
    if (step == 0) throw std::runtime_error("no step");
    for (Index b = std::max(first, set.first_block()); b < set.last_block(); ++b) {
      if (b % step == 0) set.add(b);
    }
  }
};

}  // namespace dca_test
