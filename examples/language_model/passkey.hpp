// Passkey retrieval: a number hidden in a long text, to be repeated at its end.
#pragma once

#include "session.hpp"

namespace dca_lm {

struct PasskeyTrial {
  double depth;          // where the key stands, 0 at the beginning and 1 at the end of the filler
  std::string expected;  // five digits
  std::string answer;    // what the model wrote
  bool correct;          // the first digits of the answer are the key
};

struct PasskeyOptions {
  Index tokens;  // of the whole prompt, at most
  std::vector<double> depths;
  Index trials;  // for each depth, each with another key
  std::uint32_t seed;
};

/// Room that a session needs beyond the prompt.
constexpr Index passkey_answer_tokens = 8;

/// The prompt of Mohtashami and Jaggi 2023 (arXiv:2305.16300), which ends with "The pass key is": filled up to
/// `tokens`, with the key after the given share of the filler. Throws Error where the tokens do not hold it.
std::vector<Token> passkey_prompt(const Tokenizer& tokenizer, const std::string& key, double depth, Index tokens);

/// Greedy completions of prompts with random keys at each depth, those of the first depth first. What stands before the
/// key is read once for all trials of a depth. The session has room for options.tokens and the answer. Throws as
/// passkey_prompt.
std::vector<PasskeyTrial> passkey_trials(Session& session, const Tokenizer& tokenizer, const PasskeyOptions& options,
                                         const ProgressCallback& progress);

}  // namespace dca_lm
