// Perplexity of a text by position.
#pragma once

#include "model.hpp"

namespace dca_lm {

/// Perplexity over the predictions made at positions [from, to).
struct PerplexityBucket {
  Index from, to;
  double perplexity;
};

/// Negative log likelihood, in nats, of tokens[i + 1] after tokens[0..i], for i in [0, tokens.size() - 1).
std::vector<double> negative_log_likelihoods(const LlamaModel& model, const Attention& attention,
                                             const Eigen::ThreadPoolDevice& device, std::span<const Token> tokens,
                                             const ProgressCallback& progress);

/// exp of the mean over runs of `bucket` positions, the last maybe shorter. bucket >= 1.
std::vector<PerplexityBucket> perplexity_buckets(std::span<const double> nll, Index bucket);

}  // namespace dca_lm
