// Time over length where queries choose among the keys of distant chunks, beside attention to all: prefill of one head,
// and decoding from a cache.
#include "problem.hpp"

namespace dca::bench {
namespace {

constexpr Index head_dim = 64, budget = 2048;

DualChunkAttention<float> make_attention(const Shape& shape) {
  return DualChunkAttention<float>({.chunks = shape.chunks, .rope = rope_of(shape)});
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

template <class Selection>
void prefill(benchmark::State& state) {
  const Shape shape(state);
  Problem<float> problem(shape);
  const Device device(shape.threads);
  const auto attention = make_attention(shape);
  for (auto _ : state) {
    attention(*device, blhd(problem.query), blhd(problem.key), blhd(problem.value), blhd(problem.out), {},
              policy<Selection>());
    benchmark::ClobberMemory();
  }
  state.counters["scratch_bytes"] = device.scratch_bytes();
}

/// The newest token of a sequence in a cache.
template <class Selection>
void decode(benchmark::State& state) {
  const Shape shape(state);
  Problem<float> problem(shape);
  const Device device(shape.threads);
  const auto attention = make_attention(shape);
  auto cache = attention.make_cache<float>({.kv_heads = shape.kv_heads,
                                            .head_dim = shape.head_dim,
                                            .v_head_dim = shape.head_dim,
                                            .summary_block = TopBlocks{.keys = budget}.block},
                                           1, {.tokens = shape.length});
  cache.append(*device, blhd(problem.key), blhd(problem.value));
  const auto query = blhd(problem.query).slice(1, 0, 1), out = blhd(problem.out).slice(1, 0, 1);
  Workspace workspace;
  for (auto _ : state) {
    attention(*device, query, cache, out, {.workspace = &workspace}, policy<Selection>());
    benchmark::ClobberMemory();
  }
}

void add(const std::string& name, void (*function)(benchmark::State&), Index heads, Index kv_heads) {
  auto* const bench = benchmark::RegisterBenchmark(("selection/" + name).c_str(), function);
  bench->ArgNames(Shape::argument_names())->UseRealTime()->Unit(benchmark::kMillisecond);
  for (Index length = 8192; length <= 262144; length *= 2) {
    bench->Args({length, head_dim, heads, kv_heads, 6144, 1024, 1});
  }
}

}  // namespace

void add_selection() {
  add("prefill/all", prefill<AllChunks>, 1, 1);
  add("prefill/recent", prefill<FirstAndRecent>, 1, 1);
  add("prefill/top", prefill<TopBlocks>, 1, 1);
  add("decode/all", decode<AllChunks>, 8, 2);
  add("decode/recent", decode<FirstAndRecent>, 8, 2);
  add("decode/top", decode<TopBlocks>, 8, 2);
}

}  // namespace dca::bench
