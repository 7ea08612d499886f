// Texts continued token by token.
#pragma once

#include <random>

#include "session.hpp"

namespace dca_lm {

/// How the next token is chosen: the likeliest one at temperature 0; otherwise drawn from the softmax of logits /
/// temperature, of the top_k likeliest (0: all), of those the fewest whose probabilities add up to top_p.
struct SamplingOptions {
  double temperature = 0;
  Index top_k = 0;
  double top_p = 1;
  std::uint32_t seed = 1;
};

/// The token with the largest logit, the first of several.
Token greedy_token(const Eigen::Ref<const Eigen::RowVectorXf>& logits);

/// The difference of the two largest logits; infinite where there is one token only.
double top_gap(const Eigen::Ref<const Eigen::RowVectorXf>& logits);

/// Draws tokens, the same ones for the same seed and logits.
class Sampler {
 public:
  /// Throws Error for a temperature or top_k below 0, or top_p out of (0, 1].
  explicit Sampler(const SamplingOptions& options);

  Token operator()(const Eigen::Ref<const Eigen::RowVectorXf>& logits);

 private:
  SamplingOptions options_;
  std::mt19937 random_;
};

struct GenerationOptions {
  Index tokens;             // to generate, at most
  Index prefill_chunk = 0;  // the prompt is read in pieces of so many tokens; 0: at once
  SamplingOptions sampling = {};
  std::vector<Token> ends = {};  // tokens that end the text and are not part of it
};

struct Generation {
  std::vector<Token> tokens;  // without the one that ended it
  bool ended = false;         // by a token of options.ends
  double prefill_seconds = 0, decode_seconds = 0;
  Index decoded = 0;  // tokens that were read one at a time, in decode_seconds
};

/// Called with every token that is generated, and the logits that it was chosen from.
using TokenCallback = std::function<void(Token, const Eigen::Ref<const Eigen::RowVectorXf>& logits)>;

/// Reads `prompt` after what the session holds and continues it. Progress is that of reading the prompt. Throws Error
/// for an empty prompt, options.tokens or a prefill_chunk out of range, and what reading throws.
Generation generate(Session& session, std::span<const Token> prompt, const GenerationOptions& options,
                    const TokenCallback& on_token, const ProgressCallback& progress);

}  // namespace dca_lm
