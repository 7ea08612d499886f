#include "perplexity.hpp"

#include <atomic>
#include <cmath>
#include <mutex>
#include <numeric>

#include "error.hpp"

namespace dca_lm {

std::vector<double> negative_log_likelihoods(Session& session, std::span<const Token> tokens,
                                             const ProgressCallback& progress) {
  if (tokens.size() < 2) {
    throw Error(std::to_string(tokens.size()) + " tokens; at least 2 are needed, one to predict the other");
  }
  const auto count = static_cast<Index>(tokens.size()) - 1;
  constexpr double layers_share = 0.8;  // of the time; the rest is the product with the vocabulary
  session.truncate(0);
  const Matrix hidden = session.read(tokens.first(static_cast<std::size_t>(count)), count,
                                     [&](double share) { progress(share * layers_share); });
  std::vector<double> nll(static_cast<std::size_t>(count));
  constexpr Index rows_per_task = 64;  // a task holds its rows' probabilities of the whole vocabulary
  std::atomic<Index> done{0};
  std::mutex reporting;
  session.device().parallelFor(
      (count + rows_per_task - 1) / rows_per_task, Eigen::TensorOpCost(0, 0, 1e9), [&](Index begin, Index end) {
        for (Index task = begin; task < end; ++task) {
          const Index first = task * rows_per_task, rows = std::min(rows_per_task, count - first);
          const Matrix log_probabilities = session.model().log_probabilities(hidden.middleRows(first, rows));
          for (Index r = 0; r < rows; ++r) {
            const Token target = tokens[static_cast<std::size_t>(first + r + 1)];
            nll[static_cast<std::size_t>(first + r)] = -static_cast<double>(log_probabilities(r, target));
          }
          done += rows;
          const std::lock_guard<std::mutex> lock(reporting);
          progress(layers_share + (1 - layers_share) * static_cast<double>(done) / static_cast<double>(count));
        }
      });
  return nll;
}

std::vector<PerplexityBucket> perplexity_buckets(std::span<const double> nll, Index bucket) {
  std::vector<PerplexityBucket> buckets;
  const auto count = static_cast<Index>(nll.size());
  for (Index from = 0; from < count; from += bucket) {
    const Index to = std::min(from + bucket, count);
    const double sum = std::accumulate(nll.begin() + from, nll.begin() + to, 0.0);
    buckets.push_back({from, to, std::exp(sum / static_cast<double>(to - from))});
  }
  return buckets;
}

}  // namespace dca_lm
