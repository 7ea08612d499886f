// Needles in a haystack: what is asked, and how words are scored.
#include "needle.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "error_of.hpp"
#include "open_model_parts.hpp"
#include "retrieval.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_test::contains;

namespace {

constexpr std::ptrdiff_t most = 500;

/// A tiny model and a haystack of short sentences.
struct Haystack {
  explicit Haystack(std::uint64_t stream)
      : random(stream), file(make_tiny_model({}, random).bytes()), model(file.path()) {
    std::string text;
    for (int k = 0; k < 60; ++k) text += " The hay is dry in field " + std::to_string(k) + ".";
    tokens = model.tokenizer().encode(text);
  }

  std::vector<dca_lm::NeedleTrial> trials(const dca_lm::NeedleOptions& options) const {
    const OpenModel::Parts& parts = model.parts();
    const dca_lm::Attention attention = parts.attention(choice);
    dca_lm::Session session(parts.model, attention, parts.executor,
                            {.tokens = options.tokens + dca_lm::needle_answer_tokens(parts.tokenizer)});
    return dca_lm::needle_trials(session, parts.tokenizer, hay(), options, [](double) {});
  }

  dca_lm::Haystack hay() const { return {tokens, "hay.txt"}; }

  Choice choice{.name = "dca", .chunk_size = 24, .local_window = 8};
  Random random;
  TempFile file;
  OpenModel model;
  std::vector<Token> tokens;
};

}  // namespace

TEST_CASE("a needle prompt hides the sentence between two of the haystack's, near its depth, and asks for its word") {
  const Haystack haystack(40);
  const dca_lm::Tokenizer& tokenizer = haystack.model.tokenizer();
  for (const double depth : {0.0, 0.5, 1.0}) {
    const std::vector<Token> prompt = dca_lm::needle_prompt(tokenizer, haystack.hay(), "castle", depth, most);
    CHECK(static_cast<std::ptrdiff_t>(prompt.size()) == most);
    const std::string text = tokenizer.decode(prompt), needle = "\nThe secret word of the old gardener is \"castle\".";
    INFO(text);
    const std::size_t at = text.find(needle);
    REQUIRE(at != std::string::npos);
    CHECK(text.find("castle", at + needle.size()) == std::string::npos);
    CHECK(text.ends_with("Answer: The secret word of the old gardener is \""));
    CHECK((at == 0 || depth == 1.0 || text[at - 1] == '.'));
    const auto hay = static_cast<double>(text.find("\n\nQuestion:") - needle.size());
    CHECK(std::abs(static_cast<double>(at) / hay - depth) < 0.2);
  }
}

TEST_CASE("needle trials score every word by its likelihood after the whole prompt") {
  const Haystack haystack(41);
  const auto trials = haystack.trials({most, {0.2, 0.8}, 2, 3});
  REQUIRE(trials.size() == 4);
  const dca_lm::Tokenizer& tokenizer = haystack.model.tokenizer();
  for (const dca_lm::NeedleTrial& trial : trials) {
    INFO("depth " << trial.depth << ", " << trial.expected);
    std::vector<double> likelihoods;
    double sum = 0, right = 0, largest = -HUGE_VAL;
    std::string likeliest;
    for (const std::string& word : dca_lm::needle_words()) {  // each read afresh
      std::vector<Token> text = dca_lm::needle_prompt(tokenizer, haystack.hay(), trial.expected, trial.depth, most);
      const std::size_t prompt = text.size();
      const std::vector<Token> answer = tokenizer.encode(word);
      text.insert(text.end(), answer.begin(), answer.end());
      const std::vector<double> nll = haystack.model.negative_log_likelihoods(haystack.choice, text);
      double log_likelihood = 0;
      for (std::size_t k = prompt - 1; k < nll.size(); ++k) log_likelihood -= nll[k];
      sum += std::exp(log_likelihood);
      if (word == trial.expected) right = std::exp(log_likelihood);
      if (log_likelihood > largest) {
        largest = log_likelihood;
        likeliest = word;
      }
    }
    CHECK(trial.answer == likeliest);
    CHECK(trial.correct == (likeliest == trial.expected));
    CHECK(trial.probability == dca_test::Approx(right / sum).epsilon(1e-3));
  }
}

TEST_CASE("the ten trials of a depth hide ten words, and a seed gives them again") {
  const Haystack haystack(42);
  const auto first = haystack.trials({200, {0.5}, 10, 3}), again = haystack.trials({200, {0.5}, 10, 3});
  std::set<std::string> words;
  for (std::size_t k = 0; k < 10; ++k) {
    words.insert(first[k].expected);
    CHECK(first[k].expected == again[k].expected);
    CHECK(first[k].probability == again[k].probability);
  }
  CHECK(words.size() == dca_lm::needle_words().size());
}

TEST_CASE("a haystack that is too short, and too few tokens for a needle, are refused with the numbers") {
  const Haystack haystack(43);
  CHECK_THAT(error_of([&] {
               haystack.trials({40, {0.5}, 1, 1});
             }),
             contains("--tokens 40; the needle and the question"));
  CHECK_THAT(error_of([&] {
               haystack.trials({5000, {0.5}, 1, 1});
             }),
             contains("hay.txt has " + std::to_string(haystack.tokens.size())));
}

TEST_CASE("prompts are answered deepest first, and what they share is read once") {
  const Haystack haystack(44);
  const OpenModel::Parts& parts = haystack.model.parts();
  const dca_lm::Attention attention = parts.attention(haystack.choice);
  dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = 20});
  const std::vector<std::vector<Token>> prompts = {{1, 2, 3, 4, 5}, {1, 2, 3, 9}, {1, 2, 3, 9}, {7, 2}};
  const std::vector<std::size_t> left = {5, 1, 1, 2};
  std::vector<double> shares;
  dca_lm::answer_in_turn(
      session, prompts,
      [&](std::size_t k, std::span<const Token> rest, const dca_lm::ProgressCallback& progress) {
        CHECK(rest.size() == left[k]);
        CHECK(session.length() + static_cast<std::ptrdiff_t>(rest.size()) ==
              static_cast<std::ptrdiff_t>(prompts[k].size()));
        session.read(rest, 1);
        progress(1.0);
      },
      [&](double share) { shares.push_back(share); });
  REQUIRE(shares.size() == 4);
  CHECK(std::is_sorted(shares.begin(), shares.end()));
  CHECK(shares.back() == dca_test::Approx(1.0));
  CHECK(dca_lm::deepest_first(std::vector<double>{0.1, 0.9, 0.5, 0.9}) == std::vector<std::size_t>{1, 3, 2, 0});
}
