// chunk_size and local_window of a model, found by what they make of a text beyond its trained window.
#pragma once

#include <dca/positions/chunk_sizes.hpp>

#include "session.hpp"

namespace dca_lm {

/// What a pair of sizes came to.
struct TuningResult {
  dca::ChunkConfig sizes;
  std::vector<double> nll;  // of the same tokens for all, in nats
  double seconds;

  /// As perplexity_of.
  double perplexity() const;
};

/// Perplexity over another's, less 1, and its standard error: token by token, for both had the same ones.
struct Difference {
  double ratio, error;
};
Difference difference(const TuningResult& one, const TuningResult& other);

using MeasureSizes = std::function<TuningResult(const dca::ChunkConfig&)>;

/// Tries chunk_sizes, then local_windows for the best of them; lowest perplexity is best. Another pair is tried as long
/// as it would end, if it took as long as the slowest so far, within the budget, of which the chunk_sizes take up to
/// two thirds. The first pair is always tried. Results in order of trial.
std::vector<TuningResult> tune(Index trained_window, double budget_seconds, const MeasureSizes& measure);

/// The one with the lowest perplexity, the first of several. results must not be empty.
const TuningResult& best_of(const std::vector<TuningResult>& results);

}  // namespace dca_lm
