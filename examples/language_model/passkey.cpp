#include "passkey.hpp"

#include <algorithm>
#include <random>

#include "error.hpp"

namespace dca_lm {
namespace {

constexpr const char* introduction =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "
    "about the important information there.\n";
constexpr const char* filler =
    " The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
constexpr const char* question = "\nWhat is the pass key? The pass key is";
constexpr Index answer_tokens = 8;

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

std::vector<Token> prompt(const Tokenizer& tokenizer, const std::string& key, double depth, Index tokens) {
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

/// Greedy completion of a text of which the session already holds the beginning.
std::string complete(const LlamaModel& model, const Tokenizer& tokenizer, Session& session, std::span<const Token> text,
                     const ProgressCallback& progress) {
  std::vector<Token> answer;
  Matrix hidden = session.read(text.subspan(static_cast<std::size_t>(session.length())), 1, progress);
  for (Index k = 0; k < answer_tokens; ++k) {
    Index best = 0;
    model.log_probabilities(hidden).row(0).maxCoeff(&best);
    answer.push_back(static_cast<Token>(best));
    if (k + 1 < answer_tokens) hidden = session.read(std::span(answer).last(1), 1);
  }
  return tokenizer.decode(answer);
}

}  // namespace

std::vector<PasskeyTrial> passkey_trials(const LlamaModel& model, const Tokenizer& tokenizer,
                                         const Attention& attention, const Eigen::ThreadPoolDevice& device,
                                         const PasskeyOptions& options, const ProgressCallback& progress) {
  std::mt19937 random(options.seed);
  std::vector<PasskeyTrial> trials;
  for (Index k = 0; k < options.trials; ++k) {
    const double depth =
        options.trials == 1 ? 0.5 : 0.1 + 0.8 * static_cast<double>(k) / static_cast<double>(options.trials - 1);
    trials.push_back({depth, std::to_string(10000 + random() % 90000), "", false});
  }
  Session session(model, attention, device, options.tokens + answer_tokens);
  std::vector<Token> before;
  for (Index k = options.trials - 1; k >= 0; --k) {
    PasskeyTrial& trial = trials[static_cast<std::size_t>(k)];
    const std::vector<Token> text = prompt(tokenizer, trial.expected, trial.depth, options.tokens);
    const auto differs = std::mismatch(text.begin(), text.end(), before.begin(), before.end()).first;
    session.truncate(static_cast<Index>(differs - text.begin()));
    const double done = static_cast<double>(options.trials - 1 - k);
    trial.answer = complete(model, tokenizer, session, text,
                            [&](double share) { progress((done + share) / static_cast<double>(options.trials)); });
    trial.correct = first_number(trial.answer) == trial.expected;
    before = text;
  }
  return trials;
}

}  // namespace dca_lm
