// A needle in a haystack: a sentence hidden in a long text, and whether the model believes it at the end.
#pragma once

#include "session.hpp"

namespace dca_lm {

struct NeedleTrial {
  double depth;          // where the sentence stands, 0 at the beginning and 1 at the end of the haystack
  std::string expected;  // the word of the sentence
  std::string answer;    // the likeliest of the words
  double probability;    // of the right word among them all: 0.1 is chance
  bool correct;          // the right word is the likeliest
};

struct NeedleOptions {
  Index tokens;  // of the whole prompt, at most
  std::vector<double> depths;
  Index trials;  // for each depth, each with another word
  std::uint32_t seed;
};

/// A text to hide needles in, and its name for messages.
struct Haystack {
  std::span<const Token> tokens;
  std::string name;
};

/// The words of which a needle hides one: the right answer and nine wrong ones.
std::span<const std::string> needle_words();

/// Room that a session needs beyond the prompt.
Index needle_answer_tokens(const Tokenizer& tokenizer);

/// What begins every text, then as many tokens of the haystack as fit, with a sentence that names the word after the
/// given share of them, at the end of a sentence if one ends soon, and a question that the word answers. Throws Error
/// where `tokens` do not hold the sentence, the question and some haystack, or the haystack is shorter than that.
std::vector<Token> needle_prompt(const Tokenizer& tokenizer, const Haystack& haystack, const std::string& word,
                                 double depth, Index tokens);

/// Trials of each depth, those of the first depth first. Every word is scored by its likelihood after the prompt. What
/// stands before the needle is read once for all trials of a depth. The session has room for options.tokens and the
/// answer. Throws as needle_prompt.
std::vector<NeedleTrial> needle_trials(Session& session, const Tokenizer& tokenizer, const Haystack& haystack,
                                       const NeedleOptions& options, const ProgressCallback& progress);

}  // namespace dca_lm
