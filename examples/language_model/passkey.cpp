#include "passkey.hpp"

#include <algorithm>
#include <random>

#include "error.hpp"
#include "generation.hpp"

namespace dca_lm {
namespace {

constexpr const char* introduction =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "
    "about the important information there.\n";
constexpr const char* filler =
    " The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
constexpr const char* question = "\nWhat is the pass key? The pass key is";

// The usual second sentence ("K is the pass key") is turned around: small models complete "The pass key is" with the
// words that they read last after it.
std::string needle(const std::string& key) {
  return "\nThe pass key is " + key + ". Remember it. The pass key is " + key + ".\n";
}

/// The first run of digits of a text.
std::string first_number(const std::string& text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto first = std::find_if(text.begin(), text.end(), digit);
  return {first, std::find_if_not(first, text.end(), digit)};
}

}  // namespace

std::vector<Token> passkey_prompt(const Tokenizer& tokenizer, const std::string& key, double depth, Index tokens) {
  std::vector<Token> text = tokenizer.encode(introduction);
  const std::vector<Token> fill = tokenizer.encode(filler), info = tokenizer.encode(needle(key));
  const std::vector<Token> end = tokenizer.encode(question);
  const Index room = tokens - static_cast<Index>(text.size() + info.size() + end.size());
  const Index fillers = room / static_cast<Index>(fill.size());
  if (fillers < 1) {
    throw Error("--tokens " + std::to_string(tokens) + "; the prompt alone takes " + std::to_string(tokens - room) +
                " and its filler " + std::to_string(fill.size()));
  }
  const auto before = static_cast<Index>(depth * static_cast<double>(fillers) + 0.5);
  for (Index k = 0; k < fillers; ++k) {
    if (k == before) text.insert(text.end(), info.begin(), info.end());
    text.insert(text.end(), fill.begin(), fill.end());
  }
  if (before == fillers) text.insert(text.end(), info.begin(), info.end());
  text.insert(text.end(), end.begin(), end.end());
  return text;
}

std::vector<PasskeyTrial> passkey_trials(Session& session, const Tokenizer& tokenizer, const PasskeyOptions& options,
                                         const ProgressCallback& progress) {
  std::mt19937 random(options.seed);
  std::vector<PasskeyTrial> trials;
  for (Index k = 0; k < options.trials; ++k) {
    const double depth =
        options.trials == 1 ? 0.5 : 0.1 + 0.8 * static_cast<double>(k) / static_cast<double>(options.trials - 1);
    trials.push_back({depth, std::to_string(10000 + random() % 90000), "", false});
  }
  session.truncate(0);
  std::vector<Token> before;
  for (Index k = options.trials - 1; k >= 0; --k) {
    PasskeyTrial& trial = trials[static_cast<std::size_t>(k)];
    const std::vector<Token> text = passkey_prompt(tokenizer, trial.expected, trial.depth, options.tokens);
    const auto differs = std::mismatch(text.begin(), text.end(), before.begin(), before.end()).first;
    // The last token is read again in any case: its state says how to go on.
    session.truncate(std::min(differs - text.begin(), static_cast<std::ptrdiff_t>(text.size()) - 1));
    const double done = static_cast<double>(options.trials - 1 - k);
    const auto left = std::span(text).subspan(static_cast<std::size_t>(session.length()));
    const Generation answer = generate(session, left, {.tokens = passkey_answer_tokens}, nullptr, [&](double share) {
      progress((done + share) / static_cast<double>(options.trials));
    });
    trial.answer = tokenizer.decode(answer.tokens);
    trial.correct = first_number(trial.answer) == trial.expected;
    before = text;
  }
  return trials;
}

}  // namespace dca_lm
