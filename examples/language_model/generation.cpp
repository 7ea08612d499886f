#include "generation.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "error.hpp"

namespace dca_lm {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// Reads the prompt in pieces; the last state.
Matrix prefill(Session& session, std::span<const Token> prompt, Index chunk, const ProgressCallback& progress) {
  const std::size_t step = chunk == 0 ? prompt.size() : static_cast<std::size_t>(chunk);
  const auto total = static_cast<double>(prompt.size());
  Matrix hidden;
  for (std::size_t first = 0; first < prompt.size(); first += step) {
    const std::size_t count = std::min(step, prompt.size() - first);
    hidden = session.read(prompt.subspan(first, count), 1, [&](double share) {
      if (progress) progress((static_cast<double>(first) + share * static_cast<double>(count)) / total);
    });
  }
  return hidden;
}

}  // namespace

Token greedy_token(const Eigen::Ref<const Eigen::RowVectorXf>& logits) {
  Index best = 0;
  logits.maxCoeff(&best);
  return static_cast<Token>(best);
}

double top_gap(const Eigen::Ref<const Eigen::RowVectorXf>& logits) {
  float first = -std::numeric_limits<float>::infinity(), second = first;
  for (const float logit : logits) {
    second = std::max(second, std::min(first, logit));
    first = std::max(first, logit);
  }
  return static_cast<double>(first) - static_cast<double>(second);
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    throw Error("--temperature " + std::to_string(options.temperature) + "; must be at least 0");
  }
  if (options.top_k < 0) throw Error("--top-k " + std::to_string(options.top_k) + "; must be at least 0");
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    throw Error("--top-p " + std::to_string(options.top_p) + "; must be greater than 0 and at most 1");
  }
}

Token Sampler::operator()(const Eigen::Ref<const Eigen::RowVectorXf>& logits) {
  if (options_.temperature == 0) return greedy_token(logits);
  std::vector<Token> tokens(static_cast<std::size_t>(logits.size()));
  std::iota(tokens.begin(), tokens.end(), Token{0});
  const auto likelier = [&](Token a, Token b) { return logits(a) != logits(b) ? logits(a) > logits(b) : a < b; };
  std::size_t kept = tokens.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options_.top_k));
  std::partial_sort(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(kept), tokens.end(), likelier);

  std::vector<double> upto(kept);  // sums of the first probabilities, not divided by their sum
  double sum = 0;
  for (std::size_t k = 0; k < kept; ++k) {
    sum += std::exp(static_cast<double>(logits(tokens[k]) - logits(tokens[0])) / options_.temperature);
    upto[k] = sum;
  }
  const auto nucleus = std::lower_bound(upto.begin(), upto.end(), options_.top_p * sum);
  const double reach = nucleus == upto.end() ? sum : *nucleus;
  const double drawn = static_cast<double>(random_()) / 4294967296.0 * reach;
  const auto at = std::upper_bound(upto.begin(), upto.end(), drawn) - upto.begin();
  return tokens[std::min(static_cast<std::size_t>(at), kept - 1)];
}

Generation generate(Session& session, std::span<const Token> prompt, const GenerationOptions& options,
                    const TokenCallback& on_token, const ProgressCallback& progress) {
  if (prompt.empty()) throw Error("the prompt is empty; it needs at least one token");
  if (options.tokens < 1) throw Error("--tokens " + std::to_string(options.tokens) + "; must be at least 1");
  if (options.prefill_chunk < 0) {
    throw Error("--prefill-chunk " + std::to_string(options.prefill_chunk) + "; must be at least 1");
  }
  Sampler choose(options.sampling);
  Generation generation;
  const Clock::time_point start = Clock::now();
  Matrix hidden = prefill(session, prompt, options.prefill_chunk, progress);
  const Clock::time_point prefilled = Clock::now();
  generation.prefill_seconds = seconds_between(start, prefilled);
  for (;;) {
    const Matrix logits = session.model().logits(session.executor(), hidden, positions_from(session.length() - 1));
    const Token token = choose(logits.row(0));
    generation.ended = std::find(options.ends.begin(), options.ends.end(), token) != options.ends.end();
    if (generation.ended) break;
    generation.tokens.push_back(token);
    if (on_token) on_token(token, logits.row(0));
    if (static_cast<Index>(generation.tokens.size()) == options.tokens) break;
    hidden = session.read({&token, 1}, 1);
    ++generation.decoded;
  }
  generation.decode_seconds = seconds_between(prefilled, Clock::now());
  return generation;
}

}  // namespace dca_lm
