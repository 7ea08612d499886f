// Passkey retrieval: a number hidden in a long text, to be repeated at its end.
#pragma once

#include "model.hpp"

namespace dca_lm {

struct PasskeyTrial {
  double depth;          // where the key stands, 0 at the beginning and 1 at the end of the filler
  std::string expected;  // five digits
  std::string answer;    // what the model wrote
  bool correct;          // the first digits of the answer are the key
};

struct PasskeyOptions {
  Index tokens;  // of the whole prompt, at most
  Index trials;
  std::uint32_t seed;
};

/// The prompt of Mohtashami and Jaggi 2023 (arXiv:2305.16300), filled up to options.tokens, with the key at depths
/// spread evenly from 0.1 to 0.9 (one trial: 0.5); greedy completion of "The pass key is". Deepest first, so that a
/// trial reads again only what differs from the one before. Throws Error where the tokens do not hold the prompt.
std::vector<PasskeyTrial> passkey_trials(const LlamaModel& model, const Tokenizer& tokenizer,
                                         const Attention& attention, const Eigen::ThreadPoolDevice& device,
                                         const PasskeyOptions& options, const ProgressCallback& progress);

}  // namespace dca_lm
