// What bench/peers.py loads: this library behind a C interface, and the machine's limits.
#define EIGEN_USE_THREADS
#include <cstdint>
#include <dca/dca.hpp>
#include <map>
#include <memory>
#include <string>

#include "machine_limits.hpp"

namespace {

/// Queries and out [length, heads, head_dim], keys and values [length, kv_heads, head_dim], dense. The fields are those
/// of the structure of the same name in peers.py.
struct Prefill {
  const void* query;
  const void* key;
  const void* value;
  void* out;
  std::int64_t length;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t chunk_size;  // 0: causal attention, nothing remapped
  std::int64_t local_window;
  std::int64_t bfloat16;  // 0: float
  std::int64_t threads;
};

struct Pool {
  explicit Pool(int threads) : pool(threads), device(&pool, threads) {}
  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;
};

const Eigen::ThreadPoolDevice& device_of(int threads) {
  static std::map<int, std::unique_ptr<Pool>> pools;
  std::unique_ptr<Pool>& pool = pools[threads];
  if (!pool) pool = std::make_unique<Pool>(threads);
  return pool->device;
}

template <class E>
void run(const Prefill& call) {
  using dca::contiguous;
  const auto pointer = [](const void* data) { return static_cast<const E*>(data); };
  const dca::Extents of_query{call.length, call.heads, call.head_dim},
      of_key{call.length, call.kv_heads, call.head_dim};
  const auto query = contiguous(pointer(call.query), of_query);
  const auto key = contiguous(pointer(call.key), of_key);
  const auto value = contiguous(pointer(call.value), of_key);
  const auto out = contiguous(static_cast<E*>(call.out), of_query);
  const dca::RotaryEmbedding rope(dca::plain_frequencies(call.head_dim, 10000.0));
  const auto attend = [&](const auto& attention) {
    if (call.threads == 1) {
      attention(Eigen::DefaultDevice{}, query, key, value, out);
    } else {
      attention(device_of(static_cast<int>(call.threads)), query, key, value, out);
    }
  };
  if (call.chunk_size == 0) {
    attend(dca::CausalAttention<float>({.rope = rope}));
  } else {
    const dca::ChunkConfig chunks{.chunk_size = call.chunk_size, .local_window = call.local_window};
    attend(dca::DualChunkAttention<float>({.chunks = chunks, .rope = rope}));
  }
}

}  // namespace

#define DCA_BENCH_API extern "C" __attribute__((visibility("default")))

/// Null, or what went wrong (valid until the next call).
DCA_BENCH_API const char* dca_bench_prefill(const Prefill* call) {
  static std::string message;
  try {
    if (call->bfloat16 != 0) {
      run<Eigen::bfloat16>(*call);
    } else {
      run<float>(*call);
    }
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

/// FLOP/s in float, best of `rounds` rounds.
DCA_BENCH_API double dca_bench_fma_peak(int threads, int rounds) {
  return dca::bench::fma_peak<float>(threads, rounds);
}

DCA_BENCH_API const char* dca_bench_fma_peak_method() { return dca::bench::fma_peak_method; }

/// Bytes per second.
DCA_BENCH_API double dca_bench_read_bandwidth(int threads) { return dca::bench::read_bandwidth(threads); }

DCA_BENCH_API const char* dca_bench_instruction_set() { return dca::kernel_info().instruction_set; }
