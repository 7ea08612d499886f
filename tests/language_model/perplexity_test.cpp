// Likelihoods of a text's tokens, and perplexities of its buckets.
#include <cmath>
#include <limits>

#include "error_of.hpp"
#include "perplexity.hpp"
#include "support/catch.hpp"
#include "wide_model.hpp"

using namespace dca_lm_test;
using dca_test::contains;

namespace {

const std::vector<Choice> choices = {{.name = "rope"},
                                     {.name = "dca", .chunk_size = 24, .local_window = 8},
                                     {.name = "streaming", .sinks = 3, .window = 20},
                                     {.name = "intra+inter", .chunk_size = 24, .local_window = 8}};

/// nll of the last nll.size() predictions of tokens.
void check_likelihoods(const std::vector<double>& nll, const OpenModel& model, const Choice& choice,
                       const std::vector<Token>& tokens) {
  const std::vector<float> scores = model.log_probabilities(choice, {tokens.begin(), tokens.end() - 1});
  const std::size_t skipped = tokens.size() - 1 - nll.size();
  for (std::size_t k = 0; k < nll.size(); ++k) {
    const std::size_t at = skipped + k;
    const std::size_t target =
        at * static_cast<std::size_t>(tiny_vocabulary()) + static_cast<std::size_t>(tokens[at + 1]);
    REQUIRE(nll[k] == dca_test::Approx(-static_cast<double>(scores[target])).margin(1e-4));
  }
}

}  // namespace

TEST_CASE("negative log likelihoods are those of the tokens that come") {
  WideModel wide(21);
  const std::vector<Token> tokens = wide.tokens(200);
  for (const Choice& choice : choices) {
    INFO(choice.name);
    const std::vector<double> nll = wide.model.negative_log_likelihoods(choice, tokens);
    REQUIRE(nll.size() == tokens.size() - 1);
    check_likelihoods(nll, wide.model, choice, tokens);
  }
}

TEST_CASE("likelihoods do not depend on how much of the vocabulary is taken at a time") {
  WideModel wide(25);
  const std::vector<Token> targets = wide.tokens(9);
  const dca_lm::LlamaModel& model = wide.model.parts().model;
  const auto width = static_cast<dca_lm::Index>(WideModel::sizes().width);
  const std::vector<float> states = wide.random.normal<float>(9 * width);
  const Eigen::Map<const dca_lm::Matrix> hidden(states.data(), 9, width);
  const dca_lm::Matrix expected = model.log_probabilities(hidden, dca_lm::positions_from(0));
  const dca_lm::Index whole = tiny_vocabulary();
  for (const dca_lm::Index block : {dca_lm::Index{1}, dca_lm::Index{100}, whole - 1, whole, whole + 1}) {
    INFO("blocks of " << block);
    std::vector<double> nll(targets.size());
    model.negative_log_likelihoods(hidden, targets, nll, block);
    for (std::size_t k = 0; k < nll.size(); ++k) {
      const auto by_definition = static_cast<double>(expected(static_cast<dca_lm::Index>(k), targets[k]));
      CHECK(nll[k] == dca_test::Approx(-by_definition).margin(1e-5));
    }
  }
}

TEST_CASE("a text that is read in several pieces is scored as one") {
  WideModel wide(24);
  const std::vector<Token> tokens = wide.tokens(8200);  // a piece of 8192 and one of 7
  const Choice choice{.name = "dca", .chunk_size = 80, .local_window = 16};
  check_likelihoods(wide.model.negative_log_likelihoods(choice, tokens), wide.model, choice, tokens);
  const OpenModel::Parts& parts = wide.model.parts();
  const dca_lm::Attention attention = parts.attention(choice);
  dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = 8199});
  for (const std::ptrdiff_t count : {6, 7, 8}) {  // in the last piece, all of it, one of the piece before
    const std::vector<double> last = dca_lm::last_negative_log_likelihoods(session, tokens, count, [](double) {});
    REQUIRE(last.size() == static_cast<std::size_t>(count));
    check_likelihoods(last, wide.model, choice, tokens);
  }
}

TEST_CASE("with a sliding context a bucket is scored as the end of a text that fits the context") {
  WideModel wide(22);
  const std::vector<Token> tokens = wide.tokens(107);
  const OpenModel::Parts& parts = wide.model.parts();
  const dca_lm::Attention attention = parts.attention({});
  dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = 40});
  const auto sliding = [&](std::ptrdiff_t context, std::ptrdiff_t step) {
    return dca_lm::negative_log_likelihoods(session, tokens, dca_lm::SlidingContext{context, step}, [](double) {});
  };
  for (const std::ptrdiff_t step : {1, 16, 40}) {
    INFO("steps of " << step);
    const std::vector<double> nll = sliding(40, step);
    REQUIRE(nll.size() == 106);
    for (const std::ptrdiff_t at : {0, 15, 31, 32, 39, 40, 63, 64, 100, 105}) {
      const std::ptrdiff_t last = std::min<std::ptrdiff_t>(106, (at / step + 1) * step);
      const std::ptrdiff_t first = std::max<std::ptrdiff_t>(0, last - 40);
      INFO("position " << at << " after those from " << first);
      const std::vector<double> alone =
          wide.model.negative_log_likelihoods({}, {tokens.begin() + first, tokens.begin() + at + 2});
      CHECK(nll[static_cast<std::size_t>(at)] == dca_test::Approx(alone.back()).margin(1e-4));
    }
  }
  CHECK_THAT(error_of([&] { sliding(40, 0); }), contains("a step of 0; must be from 1 to the context, 40"));
  CHECK_THAT(error_of([&] { sliding(40, 41); }), contains("a step of 41"));
}

TEST_CASE("a bucket's perplexity is exp of its mean, and the last bucket may be shorter") {
  const std::vector<double> nll = {1, 3, 2, 2, 5};
  const auto buckets = dca_lm::perplexity_buckets(nll, 2);
  REQUIRE(buckets.size() == 3);
  for (std::size_t k = 0; k < 3; ++k) CHECK(buckets[k].from == static_cast<std::ptrdiff_t>(2 * k));
  CHECK(buckets[1].to == 4);
  CHECK(buckets[2].to == 5);
  CHECK(buckets[0].perplexity == dca_test::Approx(std::exp(2.0)));
  CHECK(buckets[2].perplexity == dca_test::Approx(std::exp(5.0)));
}

TEST_CASE("a perplexity is a finite number, however little a model expects its text") {
  const std::vector<double> nll = {1000, 1e30, 2};
  const double largest = std::numeric_limits<double>::max();
  CHECK(dca_lm::perplexity_of(nll) == largest);
  const auto buckets = dca_lm::perplexity_buckets(nll, 2);
  REQUIRE(buckets.size() == 2);
  CHECK(buckets[0].perplexity == largest);
  CHECK(buckets[1].perplexity == dca_test::Approx(std::exp(2.0)));
  CHECK(dca_lm::perplexity_of(std::vector<double>{709, 709}) == dca_test::Approx(std::exp(709.0)));
}
