// Prefill of Dual Chunk Attention and of causal attention over lengths, heads, types, threads and chunk sizes.
#include "problem.hpp"

namespace dca::bench {
namespace {

template <class T>
DualChunkAttention<T> make(std::type_identity<DualChunkAttention<T>>, const Shape& shape) {
  return DualChunkAttention<T>({.chunks = shape.chunks, .rope = rope_of(shape)});
}

template <class T>
CausalAttention<T> make(std::type_identity<CausalAttention<T>>, const Shape& shape) {
  return CausalAttention<T>({.rope = rope_of(shape)});
}

/// Attention computed in T over tensors of E.
template <class T, class E, template <class> class Attention>
void prefill(benchmark::State& state) {
  const Shape shape(state);
  Problem<E> problem(shape);
  const Device device(shape.threads);
  const auto attention = make(std::type_identity<Attention<T>>{}, shape);
  SpeedReport speed(state);
  for (auto _ : state) {
    attention(*device, blhd(problem.query), blhd(problem.key), blhd(problem.value), blhd(problem.out));
    benchmark::DoNotOptimize(problem.out.data());
    benchmark::ClobberMemory();
  }
  speed.write<T>(shape.causal_flops(), shape.threads);
  state.counters["scratch_bytes"] = device.scratch_bytes();
}

constexpr auto lengths = [](auto* bench) {
  for (const Index head_dim : {64, 128}) {
    for (const Index length : {512, 2048, 4096, 8192, 16384}) {
      const Index chunk_size = length < 2048 ? 384 : length < 8192 ? 1152 : 2304;
      bench->Args({length, head_dim, 1, 1, chunk_size, chunk_size / 9, 1});
    }
  }
};

constexpr auto head_groups = [](auto* bench) {
  for (const Index kv_heads : {8, 4, 2, 1}) bench->Args({2048, 128, 8, kv_heads, 1152, 128, 1});
};

constexpr auto threads = [](auto* bench) {
  for (int count = 2; count <= all_threads(); count *= 2) bench->Args({8192, 128, 2, 2, 2304, 256, count});
};

constexpr auto types = [](auto* bench) {
  for (const Index head_dim : {64, 128}) bench->Args({4096, head_dim, 1, 1, 1152, 128, 1});
};

/// local_window stays a sixth of chunk_size, as where both come from a model's trained window.
constexpr auto chunk_sizes = [](auto* bench) {
  for (Index chunk_size = 48; chunk_size <= 12288; chunk_size *= 2) {
    bench->Args({8192, 128, 1, 1, chunk_size, chunk_size / 6, 1});
  }
};

constexpr auto without_chunks = [](auto* bench) { bench->Args({8192, 128, 1, 1, 2304, 384, 1}); };

template <class T, class E, template <class> class Attention, class Sweep>
void add(const std::string& name, const Sweep& sweep) {
  benchmark::RegisterBenchmark(name.c_str(), prefill<T, E, Attention>)
      ->ArgNames(Shape::argument_names())
      ->Apply(sweep)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace

void add_prefill() {
  add<float, float, DualChunkAttention>("prefill/lengths/dca", lengths);
  add<float, float, CausalAttention>("prefill/lengths/dca_causal", lengths);
  add<float, float, DualChunkAttention>("prefill/heads/dca", head_groups);
  add<float, float, DualChunkAttention>("prefill/threads/dca", threads);
  add<float, float, CausalAttention>("prefill/threads/dca_causal", threads);
  add<float, float, DualChunkAttention>("prefill/types/float", types);
  add<double, double, DualChunkAttention>("prefill/types/double", types);
  add<float, Eigen::half, DualChunkAttention>("prefill/types/half", types);
  add<float, Eigen::bfloat16, DualChunkAttention>("prefill/types/bfloat16", types);
  add<float, float, DualChunkAttention>("prefill/chunk_sizes/dca", chunk_sizes);
  add<float, float, CausalAttention>("prefill/chunk_sizes/dca_causal", without_chunks);
}

}  // namespace dca::bench
