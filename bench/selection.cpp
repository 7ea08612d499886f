// Time over length where queries choose among the keys of distant chunks, beside attention to all: prefill of one head,
// and decoding from a cache.
#include "problem.hpp"

namespace dca::bench {
namespace {

constexpr Index head_dim = 64, budget = 2048;

DualChunkAttention<float> make_attention() {
  return DualChunkAttention<float>({.chunks = ChunkConfig{.chunk_size = 6144, .local_window = 1024},
                                    .rope = RotaryEmbedding(plain_frequencies(head_dim, 10000.0))});
}

template <class Selection>
Selection policy() {
  if constexpr (std::is_same_v<Selection, TopBlocks>) {
    return {.keys = budget};
  } else if constexpr (std::is_same_v<Selection, FirstAndRecent>) {
    return {.first = 128, .recent = budget - 128};
  } else {
    return {};
  }
}

/// A sequence of state.range(0) tokens, one head, on state.range(1) threads.
template <class Selection>
void prefill(benchmark::State& state) {
  const Index length = state.range(0);
  const int threads = static_cast<int>(state.range(1));
  Problem<float> problem({length, head_dim, 1, 1, {6144, 1024}, threads});
  const Device device(threads);
  const auto attention = make_attention();
  for (auto _ : state) {
    attention(*device, blhd(problem.query), blhd(problem.key), blhd(problem.value), blhd(problem.out), {},
              policy<Selection>());
    benchmark::ClobberMemory();
  }
  state.counters["scratch_bytes"] = device.scratch_bytes();
}

/// A token of a sequence with state.range(0) tokens in a cache, 8 heads on 2 kv_heads.
template <class Selection>
void decode(benchmark::State& state) {
  const Index length = state.range(0);
  const int threads = static_cast<int>(state.range(1));
  Problem<float> problem({length, head_dim, 8, 2, {6144, 1024}, threads});
  const Device device(threads);
  const auto attention = make_attention();
  auto cache = attention.make_cache<float>(
      {.kv_heads = 2, .head_dim = head_dim, .v_head_dim = head_dim, .summary_block = TopBlocks{.keys = 0}.block}, 1,
      {.tokens = length});
  cache.append(*device, blhd(problem.key), blhd(problem.value));
  auto query = blhd(problem.query), out = blhd(problem.out);
  query.shape[1] = out.shape[1] = 1;
  Workspace workspace;
  for (auto _ : state) {
    attention(*device, query, cache, out, {.workspace = &workspace}, policy<Selection>());
    benchmark::ClobberMemory();
  }
}

/// `most`: the longest that is measured; attention to all keys grows with the square.
void add(const std::string& name, void (*function)(benchmark::State&), Index most) {
  auto* const bench = benchmark::RegisterBenchmark(("selection/" + name).c_str(), function);
  bench->ArgNames({"L", "threads"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (Index length = 8192; length <= most; length *= 2) bench->Args({length, 1});
}

}  // namespace

void add_selection() {
  constexpr Index longest = 262144, longest_of_all = 131072;
  add("prefill/all", prefill<AllChunks>, longest_of_all);
  add("prefill/recent", prefill<FirstAndRecent>, longest);
  add("prefill/top", prefill<TopBlocks>, longest);
  add("decode/all", decode<AllChunks>, longest);
  add("decode/recent", decode<FirstAndRecent>, longest);
  add("decode/top", decode<TopBlocks>, longest);
}

}  // namespace dca::bench
