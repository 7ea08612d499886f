// Passkey trials: what is asked, and what cannot be.
#include "passkey.hpp"

#include <algorithm>
#include <cmath>

#include "error_of.hpp"
#include "open_model_parts.hpp"
#include "retrieval.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_test::contains;

namespace {

using Trials = std::vector<dca_lm::PasskeyTrial>;

const Choice small_chunks{.name = "dca", .chunk_size = 24, .local_window = 8};

Trials trials_of(const OpenModel& model, std::ptrdiff_t tokens, std::ptrdiff_t count, std::uint32_t seed) {
  const OpenModel::Parts& parts = model.parts();
  const dca_lm::Attention attention = parts.attention(small_chunks);
  dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = tokens + dca_lm::passkey_answer_tokens});
  return dca_lm::passkey_trials(session, parts.tokenizer, {tokens, dca_lm::even_depths(count), 1, seed}, [](double) {});
}

}  // namespace

TEST_CASE("passkey trials ask for five digits at even depths, again the same for a seed") {
  Random random(22);
  const TempFile file(make_tiny_model({}, random).bytes());
  const OpenModel model(file.path());
  const Trials three = trials_of(model, 600, 3, 5), again = trials_of(model, 600, 3, 5);
  const Trials others = trials_of(model, 600, 3, 6), one = trials_of(model, 600, 1, 5);
  REQUIRE(three.size() == 3);
  for (std::size_t k = 0; k < 3; ++k) {
    CHECK(three[k].depth == dca_test::Approx(0.1 + 0.4 * static_cast<double>(k)));
    CHECK(three[k].expected.size() == 5);
    CHECK(three[k].expected == again[k].expected);
    CHECK(three[k].answer == again[k].answer);
    CHECK(three[k].expected != others[k].expected);
  }
  CHECK(one[0].depth == 0.5);
}

TEST_CASE("a prompt that does not fit is refused with the tokens that it takes") {
  Random random(24);
  const TempFile file(make_tiny_model({}, random).bytes());
  const OpenModel model(file.path());
  CHECK_THAT(error_of([&] { trials_of(model, 100, 1, 1); }), contains("--tokens 100; the prompt alone takes"));
}

TEST_CASE("a passkey prompt hides the key at its depth, says it twice, and asks for it at the end") {
  Random random(25);
  const TempFile file(make_tiny_model({}, random).bytes());
  const OpenModel model(file.path());
  constexpr std::ptrdiff_t most = 900;
  for (const double depth : {0.0, 0.5, 1.0}) {
    const std::vector<Token> tokens = dca_lm::passkey_prompt(model.tokenizer(), "48213", depth, most);
    const std::string text = model.tokenizer().decode(tokens), needle = "The pass key is 48213.";
    INFO(text);
    const std::size_t filler = model.tokenizer()
                                   .encode(
                                       " The grass is green. The sky is blue. The sun is yellow. Here "
                                       "we go. There and back again.")
                                   .size();
    CHECK(static_cast<std::ptrdiff_t>(tokens.size()) <= most);
    CHECK(tokens.size() + filler > static_cast<std::size_t>(most));
    const std::size_t at = text.find(needle);
    REQUIRE(at != std::string::npos);
    CHECK(text.find(needle, at + 1) != std::string::npos);
    CHECK(text.ends_with("\nWhat is the pass key? The pass key is"));
    const double begin = static_cast<double>(text.find(" The grass")), end = static_cast<double>(text.rfind("again."));
    const double share = (static_cast<double>(at) - begin) / (end - begin);
    CHECK(std::abs(std::min(1.0, std::max(0.0, share)) - depth) < 0.15);
  }
}

TEST_CASE("truncation between trials leaves no stale tokens") {
  Random random(26);
  const TempFile file(make_tiny_model({}, random).bytes());
  const OpenModel model(file.path());
  const OpenModel::Parts& parts = model.parts();
  const dca_lm::Attention attention = parts.attention(small_chunks);
  for (const dca_lm::PasskeyTrial& trial : trials_of(model, 700, 4, 9)) {
    // The answer again, from a session that has read nothing else.
    std::vector<Token> text = dca_lm::passkey_prompt(parts.tokenizer, trial.expected, trial.depth, 700);
    const std::size_t prompt = text.size();
    dca_lm::Session fresh(parts.model, attention, parts.executor, {.tokens = 700 + 8});
    dca_lm::Matrix hidden = fresh.read(text, 1);
    for (int k = 0; k < 8; ++k) {
      std::ptrdiff_t best = 0;
      parts.model.log_probabilities(hidden, dca_lm::positions_from(0)).row(0).maxCoeff(&best);
      text.push_back(static_cast<Token>(best));
      if (k < 7) hidden = fresh.read(std::span(text).last(1), 1);
    }
    INFO("depth " << trial.depth);
    CHECK(trial.answer == parts.tokenizer.decode(std::span(text).subspan(prompt)));
  }
}
