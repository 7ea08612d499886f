// Random numbers that a command line can replay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace dca_test {

/// The seed of this run: --rng-seed N, or one drawn at its start and printed.
unsigned int run_seed();

/// A stream of random numbers that depends on the run's seed and on `stream` alone, not on which tests ran before.
class Random {
 public:
  explicit Random(std::uint64_t stream = 0) : engine_(run_seed() * 1000003ULL + stream) {}

  template <class T>
  std::vector<T> normal(std::ptrdiff_t count, double deviation = 1.0) {
    std::normal_distribution<double> distribution(0.0, deviation);
    std::vector<T> values(static_cast<std::size_t>(count));
    for (T& value : values) value = static_cast<T>(distribution(engine_));
    return values;
  }

  /// Uniform in [low, high].
  std::ptrdiff_t integer(std::ptrdiff_t low, std::ptrdiff_t high) {
    return std::uniform_int_distribution<std::ptrdiff_t>(low, high)(engine_);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace dca_test
