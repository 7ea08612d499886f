#include "passkey.hpp"

#include <algorithm>
#include <random>

#include "error.hpp"
#include "generation.hpp"
#include "retrieval.hpp"

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
  std::vector<Token> text = tokenizer.encode_text(introduction);
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
  std::vector<double> depths;
  for (const double depth : options.depths) {
    for (Index k = 0; k < options.trials; ++k) {
      depths.push_back(depth);
      trials.push_back({depth, std::to_string(10000 + random() % 90000), "", false});
    }
  }
  const std::vector<std::size_t> order = deepest_first(depths);
  std::vector<std::vector<Token>> prompts;
  for (const std::size_t k : order) {
    prompts.push_back(passkey_prompt(tokenizer, trials[k].expected, trials[k].depth, options.tokens));
  }
  answer_in_turn(
      session, prompts,
      [&](std::size_t k, std::span<const Token> left, const ProgressCallback& reading) {
        PasskeyTrial& trial = trials[order[k]];
        const Generation answer = generate(session, left, {.tokens = passkey_answer_tokens}, nullptr, reading);
        trial.answer = tokenizer.decode(answer.tokens);
        trial.correct = first_number(trial.answer) == trial.expected;
      },
      progress);
  return trials;
}

}  // namespace dca_lm
