// What the benchmarks attend over, and the device they run on.
#pragma once

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdlib>
#include <dca/dca.hpp>
#include <map>
#include <new>
#include <random>

#include "machine_limits.hpp"

namespace dca::bench {

/// Lengths in tokens; what Google Benchmark passes as a list of integers.
struct Shape {
  Index length;
  Index head_dim;
  Index heads;
  Index kv_heads;
  ChunkConfig chunks;
  int threads;

  static const std::vector<std::string>& argument_names() {
    static const std::vector<std::string> names{"L", "D", "heads", "kv_heads", "chunk_size", "local_window", "threads"};
    return names;
  }

  explicit Shape(const benchmark::State& state)
      : length(state.range(0)),
        head_dim(state.range(1)),
        heads(state.range(2)),
        kv_heads(state.range(3)),
        chunks{.chunk_size = state.range(4), .local_window = state.range(5)},
        threads(static_cast<int>(state.range(6))) {}

  /// Of the two products, over the lower triangle: 2 * 2 * head_dim for each of about length^2 / 2 pairs.
  double causal_flops() const {
    return 2.0 * static_cast<double>(heads) * static_cast<double>(length) * static_cast<double>(length) *
           static_cast<double>(head_dim);
  }
};

/// Normally distributed queries, keys and values of type E, [1, length, heads, head_dim].
template <class E>
struct Problem {
  using Tensor = Eigen::Tensor<E, 4, Eigen::RowMajor>;
  Tensor query, key, value, out;

  explicit Problem(const Shape& shape)
      : query(1, shape.length, shape.heads, shape.head_dim),
        key(1, shape.length, shape.kv_heads, shape.head_dim),
        value(1, shape.length, shape.kv_heads, shape.head_dim),
        out(1, shape.length, shape.heads, shape.head_dim) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (Tensor* tensor : {&query, &key, &value}) {
      for (Eigen::Index k = 0; k < tensor->size(); ++k) tensor->data()[k] = static_cast<E>(normal(random));
    }
  }
};

/// Takes memory as Eigen does, and knows the most that was taken at one time.
class CountingAllocator : public Eigen::Allocator {
 public:
  void* allocate(std::size_t bytes) const override {
    auto* const memory =
        static_cast<std::byte*>(std::aligned_alloc(header, (bytes + 2 * header - 1) / header * header));
    if (memory == nullptr) return nullptr;
    ::new (memory) std::size_t(bytes);
    const std::size_t now = held_ += bytes;
    for (std::size_t most = most_; most < now && !most_.compare_exchange_weak(most, now);) {
    }
    return memory + header;
  }

  void deallocate(void* buffer) const override {
    if (buffer == nullptr) return;
    std::byte* const memory = static_cast<std::byte*>(buffer) - header;
    held_ -= *std::launder(reinterpret_cast<std::size_t*>(memory));
    std::free(memory);
  }

  std::size_t most() const { return most_; }

 private:
  static constexpr std::size_t header = 64;  // keeps what follows aligned for every packet
  mutable std::atomic<std::size_t> held_{0}, most_{0};
};

/// A pool of threads as Eigen device, with its scratch counted.
class Device {
 public:
  explicit Device(int threads) : pool_(threads), device_(&pool_, threads, &allocator_) {}

  const Eigen::ThreadPoolDevice& operator*() const { return device_; }
  double scratch_bytes() const { return static_cast<double>(allocator_.most()); }

 private:
  Eigen::ThreadPool pool_;
  CountingAllocator allocator_;
  Eigen::ThreadPoolDevice device_;
};

/// fma_peak, measured once for each number of threads.
template <class T>
double known_fma_peak(int threads) {
  static std::map<int, double> known;
  const auto [place, is_new] = known.try_emplace(threads, 0.0);
  if (is_new) place->second = fma_peak<T>(threads);
  return place->second;
}

/// read_bandwidth, measured once for each number of threads.
inline double known_read_bandwidth(int threads) {
  static std::map<int, double> known;
  const auto [place, is_new] = known.try_emplace(threads, 0.0);
  if (is_new) place->second = read_bandwidth(threads);
  return place->second;
}

/// Made just before a benchmark's loop, asked just after: speed as counters.
class SpeedReport {
 public:
  explicit SpeedReport(benchmark::State& state) : state_(state) {}

  /// FLOP/s, and what share that is of what `threads` threads of T can do.
  template <class T>
  void write(double flops_per_iteration, int threads) {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const double speed = flops_per_iteration * static_cast<double>(state_.iterations()) / seconds;
    state_.counters["FLOP/s"] = speed;
    state_.counters["of_peak"] = speed / known_fma_peak<T>(threads);
  }

 private:
  benchmark::State& state_;
  Clock::time_point start_ = Clock::now();
};

inline RotaryEmbedding rope_of(const Shape& shape) {
  return RotaryEmbedding(plain_frequencies(shape.head_dim, 10000.0));
}

/// Threads to measure with besides one.
inline int all_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

}  // namespace dca::bench
