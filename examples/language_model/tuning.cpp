#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "perplexity.hpp"

namespace dca_lm {
namespace {

constexpr double largest = std::numeric_limits<double>::max() / 100;  // finite in per cent, too

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

double TuningResult::perplexity() const { return perplexity_of(nll); }

Difference difference(const TuningResult& one, const TuningResult& other) {
  std::vector<double> more;
  for (std::size_t k = 0; k < one.nll.size(); ++k) more.push_back(one.nll[k] - other.nll[k]);
  const double mean = mean_of(more), count = static_cast<double>(more.size());
  double squares = 0;
  for (const double value : more) squares += (value - mean) * (value - mean);
  const double ratio = std::min(std::exp(mean), largest);
  return {ratio - 1, count > 1 ? std::min(ratio * std::sqrt(squares / (count - 1) / count), largest) : 0};
}

std::vector<TuningResult> tune(Index trained_window, double budget_seconds, const MeasureSizes& measure) {
  std::vector<TuningResult> results;
  double spent = 0, slowest = 0;
  const auto try_all = [&](const std::vector<dca::ChunkConfig>& sizes, double until) {
    for (const dca::ChunkConfig& one : sizes) {
      if (!results.empty() && spent + slowest > until) return;
      results.push_back(measure(one));
      spent += results.back().seconds;
      slowest = std::max(slowest, results.back().seconds);
    }
  };
  try_all(dca::chunk_sizes_to_try(trained_window), budget_seconds * 2 / 3);
  const Index best = best_of(results).sizes.chunk_size;
  try_all(dca::local_windows_to_try(trained_window, best), budget_seconds);
  return results;
}

const TuningResult& best_of(const std::vector<TuningResult>& results) {
  return *std::min_element(results.begin(), results.end(), [](const TuningResult& a, const TuningResult& b) {
    return mean_of(a.nll) < mean_of(b.nll);
  });
}

}  // namespace dca_lm
