#include "needle.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "error.hpp"
#include "messages.hpp"
#include "retrieval.hpp"

namespace dca_lm {
namespace {

const std::array<std::string, 10> words = {"apple",  "castle", "river",  "silver",   "window",
                                           "garden", "bridge", "winter", "mountain", "letter"};

constexpr const char* sentence = "\nThe secret word of the old gardener is \"";
constexpr const char* sentence_end = "\". Remember it.\n";
constexpr const char* question =
    "\n\nQuestion: What is the secret word of the old gardener?\nAnswer: The secret word of "
    "the old gardener is \"";

/// The first place from `from` on where a sentence ends, or `from` where none does for a while.
std::size_t end_of_sentence(const Tokenizer& tokenizer, std::span<const Token> text, std::size_t from) {
  constexpr std::size_t a_while = 100;
  for (std::size_t at = std::max<std::size_t>(from, 1); at < std::min(text.size(), from + a_while); ++at) {
    const std::string before = tokenizer.decode(text.subspan(at - 1, 1));
    if (before.ends_with('.') || before.ends_with('?') || before.ends_with('!')) return at;
  }
  return from;
}

/// Natural log of the probability of tokens after a state, which is that of the last token that the session has read.
/// The session holds the same tokens afterwards.
double log_likelihood(Session& session, const Eigen::RowVectorXf& first, std::span<const Token> tokens) {
  double sum = static_cast<double>(first(tokens[0]));
  if (tokens.size() == 1) return sum;
  const Index length = session.length();
  const Matrix hidden = session.read(tokens.first(tokens.size() - 1), static_cast<Index>(tokens.size()) - 1);
  session.truncate(length);
  const Matrix scores = session.model().log_probabilities(hidden, positions_from(length));
  for (std::size_t k = 1; k < tokens.size(); ++k) {
    sum += static_cast<double>(scores(static_cast<Index>(k) - 1, tokens[k]));
  }
  return sum;
}

std::vector<std::vector<Token>> encoded_words(const Tokenizer& tokenizer) {
  std::vector<std::vector<Token>> encoded;
  for (const std::string& word : words) encoded.push_back(tokenizer.encode(word));
  return encoded;
}

void judge(NeedleTrial& trial, const std::vector<double>& scores) {
  const auto best = static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  double sum = 0;
  for (const double score : scores) sum += std::exp(score - scores[best]);
  const auto right = static_cast<std::size_t>(std::find(words.begin(), words.end(), trial.expected) - words.begin());
  trial.answer = words[best];
  trial.probability = std::exp(scores[right] - scores[best]) / sum;
  trial.correct = best == right;
}

/// A word for each trial of each depth. Of ten trials of a depth each takes another word.
std::vector<NeedleTrial> make_trials(const NeedleOptions& options) {
  std::mt19937 random(options.seed);
  std::vector<NeedleTrial> trials;
  for (const double depth : options.depths) {
    std::array<std::size_t, words.size()> order{};
    for (Index k = 0; k < options.trials; ++k) {
      const std::size_t at = static_cast<std::size_t>(k) % words.size();
      if (at == 0) {
        for (std::size_t n = 0; n < order.size(); ++n) {  // a shuffle that is the same with every compiler
          order[n] = n;
          std::swap(order[n], order[random() % (n + 1)]);
        }
      }
      trials.push_back({depth, words[order[at]], "", 0, false});
    }
  }
  return trials;
}

}  // namespace

std::span<const std::string> needle_words() { return words; }

Index needle_answer_tokens(const Tokenizer& tokenizer) {
  std::size_t most = 0;
  for (const std::vector<Token>& word : encoded_words(tokenizer)) most = std::max(most, word.size());
  return static_cast<Index>(most);
}

std::vector<Token> needle_prompt(const Tokenizer& tokenizer, const Haystack& haystack, const std::string& word,
                                 double depth, Index tokens) {
  const std::vector<Token> needle = tokenizer.encode(sentence + word + sentence_end), end = tokenizer.encode(question);
  std::vector<Token> text;
  if (tokenizer.start()) text.push_back(*tokenizer.start());
  const Index own = static_cast<Index>(text.size() + needle.size() + end.size()), room = tokens - own;
  if (room < 1) {
    throw Error("--tokens " + std::to_string(tokens) + "; the needle and the question alone take " +
                std::to_string(own));
  }
  if (static_cast<Index>(haystack.tokens.size()) < room) {
    throw Error("--tokens " + std::to_string(tokens) + "; " + printable(haystack.name) + " has " +
                std::to_string(haystack.tokens.size()) + ", and " + std::to_string(room) +
                " are needed around the needle");
  }
  const auto hay = haystack.tokens.first(static_cast<std::size_t>(room));
  const auto wanted = static_cast<std::size_t>(depth * static_cast<double>(room));
  const std::size_t at = end_of_sentence(tokenizer, hay, std::min(wanted, hay.size()));
  text.insert(text.end(), hay.begin(), hay.begin() + static_cast<std::ptrdiff_t>(at));
  text.insert(text.end(), needle.begin(), needle.end());
  text.insert(text.end(), hay.begin() + static_cast<std::ptrdiff_t>(at), hay.end());
  text.insert(text.end(), end.begin(), end.end());
  return text;
}

std::vector<NeedleTrial> needle_trials(Session& session, const Tokenizer& tokenizer, const Haystack& haystack,
                                       const NeedleOptions& options, const ProgressCallback& progress) {
  std::vector<NeedleTrial> trials = make_trials(options);
  std::vector<double> depths;
  for (const NeedleTrial& trial : trials) depths.push_back(trial.depth);
  const std::vector<std::size_t> order = deepest_first(depths);
  std::vector<std::vector<Token>> prompts;
  for (const std::size_t k : order) {
    prompts.push_back(needle_prompt(tokenizer, haystack, trials[k].expected, trials[k].depth, options.tokens));
  }
  const std::vector<std::vector<Token>> answers = encoded_words(tokenizer);
  answer_in_turn(
      session, prompts,
      [&](std::size_t k, std::span<const Token> left, const ProgressCallback& reading) {
        const Matrix hidden = session.read(left, 1, reading);
        const NameRow name = positions_from(session.length() - 1);
        const Eigen::RowVectorXf first = session.model().log_probabilities(hidden, name).row(0);
        std::vector<double> scores;
        for (const std::vector<Token>& answer : answers) scores.push_back(log_likelihood(session, first, answer));
        judge(trials[order[k]], scores);
      },
      progress);
  return trials;
}

}  // namespace dca_lm
