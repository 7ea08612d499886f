// Perplexity of a text by position.
#pragma once

#include "session.hpp"

namespace dca_lm {

/// Perplexity over the predictions made at positions [from, to).
struct PerplexityBucket {
  Index from, to;
  double perplexity;
};

/// Negative log likelihood, in nats, of tokens[i + 1] after tokens[0..i], for i in [0, tokens.size() - 1). The session
/// forgets what it held and then holds all tokens but the last. Throws Error for fewer than 2 tokens, which predict
/// nothing, or more than there is room for.
std::vector<double> negative_log_likelihoods(Session& session, std::span<const Token> tokens,
                                             const ProgressCallback& progress);

/// The same of the last `count` tokens alone. Throws Error, besides, unless there are so many, at least 1.
std::vector<double> last_negative_log_likelihoods(Session& session, std::span<const Token> tokens, Index count,
                                                  const ProgressCallback& progress);

/// A context that slides over a text: of `tokens` tokens at most, in steps of `step` tokens. `start`, if set, replaces
/// the first token of each context.
struct SlidingContext {
  Index tokens, step;
  std::optional<Token> start = {};
};

/// As above, with a context that never exceeds a window: the control for attentions that reach further. Targets are
/// taken `step` at a time, those after [from, from + step); for them the session reads anew, as a text of its own, the
/// `tokens` tokens before from + step. So a target is predicted from tokens - step + 1 to tokens tokens. The first
/// whole steps that fit into one window are one read from the beginning of the text. Throws Error, besides, unless
/// 1 <= step <= tokens.
std::vector<double> negative_log_likelihoods(Session& session, std::span<const Token> tokens,
                                             const SlidingContext& context, const ProgressCallback& progress);

/// exp of the mean, which is a finite number: at most the largest one, for means above 709.
double perplexity_of(std::span<const double> nll);

/// The same over runs of `bucket` positions, the last maybe shorter. bucket >= 1.
std::vector<PerplexityBucket> perplexity_buckets(std::span<const double> nll, Index bucket);

}  // namespace dca_lm
