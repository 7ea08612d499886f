// Continued prompts: the likeliest tokens, drawn ones, and where they end.
#include "generation.hpp"

#include <cmath>

#include "error_of.hpp"
#include "forward.hpp"
#include "support/catch.hpp"
#include "utf8_stream.hpp"
#include "wide_model.hpp"

using namespace dca_lm_test;
using dca_test::contains;
namespace reference = dca_test::reference;

namespace {

const Choice dca_choice{.name = "dca", .chunk_size = 24, .local_window = 8};

dca_lm::Generation generation_of(const OpenModel& model, const Choice& choice, const std::vector<Token>& prompt,
                                 const dca_lm::GenerationOptions& options) {
  const OpenModel::Parts& parts = model.parts();
  const dca_lm::Attention attention = parts.attention(choice);
  const auto room = static_cast<std::ptrdiff_t>(prompt.size()) + std::max<std::ptrdiff_t>(options.tokens, 1);
  dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = room}, storage_of(choice));
  return dca_lm::generate(session, prompt, options, nullptr, nullptr);
}

/// How often each of the tokens is drawn from these probabilities.
std::vector<double> frequencies(const std::vector<double>& probabilities, const dca_lm::SamplingOptions& options) {
  constexpr int draws = 20000;
  Eigen::RowVectorXf logits(static_cast<std::ptrdiff_t>(probabilities.size()));
  for (std::ptrdiff_t k = 0; k < logits.size(); ++k) {
    logits(k) = static_cast<float>(std::log(probabilities[static_cast<std::size_t>(k)])) + 3;
  }
  dca_lm::Sampler sampler(options);
  std::vector<double> shares(probabilities.size(), 0.0);
  for (int draw = 0; draw < draws; ++draw) shares[static_cast<std::size_t>(sampler(logits))] += 1.0 / draws;
  return shares;
}

/// Six deviations of a share of 20000 draws, and what adding up the share rounds.
void check_shares(const std::vector<double>& shares, const std::vector<double>& expected) {
  for (std::size_t k = 0; k < shares.size(); ++k) {
    INFO("token " << k);
    CHECK(std::abs(shares[k] - expected[k]) <= 6 * std::sqrt(expected[k] * (1 - expected[k]) / 20000) + 1e-9);
  }
}

}  // namespace

TEST_CASE("greedy tokens are the likeliest by the definition of the model") {
  WideModel wide(50);
  const TinySizes sizes = WideModel::sizes();
  const std::vector<Token> prompt = wide.tokens(50);
  const std::vector<Token> generated = generation_of(wide.model, dca_choice, prompt, {.tokens = 8}).tokens;
  REQUIRE(generated.size() == 8);
  std::vector<Token> text = prompt;
  text.insert(text.end(), generated.begin(), generated.end());
  AttentionByDefinition attention;
  attention.rope = {reference::inverse_frequencies(sizes.rotary_dim, sizes.theta), 1.0, true};
  attention.positions = reference::dual_chunk(dca_choice.chunk_size, dca_choice.local_window);
  const auto scores = log_probabilities_by_definition(wide.contents, sizes, text, attention);
  for (std::size_t k = 0; k < generated.size(); ++k) {
    const auto row = scores.data.begin() + static_cast<std::ptrdiff_t>((prompt.size() + k - 1)) * tiny_vocabulary();
    INFO("token " << k);
    CHECK(row[generated[k]] > *std::max_element(row, row + tiny_vocabulary()) - 1e-3);
  }
}

TEST_CASE("a prompt read in pieces is continued as one read at once, whatever the cache holds") {
  WideModel wide(51);
  const std::vector<Token> prompt = wide.tokens(70);
  for (const char* const type : kv_types) {
    Choice choice = dca_choice;
    choice.kv_type = type;
    const std::vector<Token> whole = generation_of(wide.model, choice, prompt, {.tokens = 6}).tokens;
    REQUIRE(whole.size() == 6);
    for (const std::ptrdiff_t chunk : {1, 16, 23, 69, 70, 1000}) {
      INFO(type << ", " << chunk << " at a time");
      CHECK(generation_of(wide.model, choice, prompt, {.tokens = 6, .prefill_chunk = chunk}).tokens == whole);
    }
  }
}

TEST_CASE("a text ends before a token that ends it, or with the tokens that were asked for") {
  WideModel wide(52);
  const std::vector<Token> prompt = wide.tokens(20);
  const auto free = generation_of(wide.model, {}, prompt, {.tokens = 10});
  CHECK(free.tokens.size() == 10);
  CHECK_FALSE(free.ended);
  CHECK(free.decoded == 9);
  for (const std::size_t last : {0U, 5U}) {
    const Token end = free.tokens[last];
    const auto first =
        static_cast<std::size_t>(std::find(free.tokens.begin(), free.tokens.end(), end) - free.tokens.begin());
    const auto ended = generation_of(wide.model, {}, prompt, {.tokens = 10, .ends = {end}});
    CHECK(ended.ended);
    CHECK(ended.tokens == std::vector<Token>(free.tokens.begin(), free.tokens.begin() + static_cast<int>(first)));
  }
}

TEST_CASE("tokens are drawn by their probabilities") {
  const std::vector<double> p = {0.15, 0.5, 0.05, 0.3};
  check_shares(frequencies(p, {.temperature = 1}), p);
  check_shares(frequencies(p, {.temperature = 1, .top_k = 2}), {0, 0.625, 0, 0.375});
  check_shares(frequencies(p, {.temperature = 1, .top_k = 9}), p);
  check_shares(frequencies(p, {.temperature = 1, .top_p = 0.9}), {0.15 / 0.95, 0.5 / 0.95, 0, 0.3 / 0.95});
  check_shares(frequencies(p, {.temperature = 1, .top_k = 3, .top_p = 0.6}), {0, 0.625, 0, 0.375});
  double sum = 0;
  std::vector<double> roots;
  for (const double x : p) sum += std::sqrt(x);
  for (const double x : p) roots.push_back(std::sqrt(x) / sum);
  check_shares(frequencies(p, {.temperature = 2}), roots);
  for (const dca_lm::SamplingOptions& one : {dca_lm::SamplingOptions{},
                                             {.temperature = 1, .top_k = 1},
                                             {.temperature = 5, .top_p = 1e-9},
                                             {.temperature = 1e-9}}) {
    check_shares(frequencies(p, one), {0, 1, 0, 0});
  }
}

TEST_CASE("a seed gives the same text again, another seed another") {
  WideModel wide(54);
  const std::vector<Token> prompt = wide.tokens(20);
  // Whatever the model, all its tokens are as likely: two times 12 draws would agree with a chance of 264^-12 < 1e-28.
  const auto with_seed = [&](std::uint32_t seed) {
    return generation_of(wide.model, {}, prompt, {.tokens = 12, .sampling = {.temperature = 1e9, .seed = seed}}).tokens;
  };
  CHECK(with_seed(1) == with_seed(1));
  CHECK(with_seed(1) != with_seed(2));
}

TEST_CASE("what cannot be generated is refused by name") {
  WideModel wide(55);
  const std::vector<Token> prompt = wide.tokens(5);
  const auto refusal = [&](const std::vector<Token>& text, const dca_lm::GenerationOptions& options) {
    return error_of([&] { generation_of(wide.model, {}, text, options); });
  };
  CHECK_THAT(refusal({}, {.tokens = 1}), contains("the prompt is empty"));
  CHECK_THAT(refusal(prompt, {.tokens = 0}), contains("--tokens 0; must be at least 1"));
  CHECK_THAT(refusal(prompt, {.tokens = 1, .prefill_chunk = -1}), contains("--prefill-chunk -1"));
  CHECK_THAT(refusal(prompt, {.tokens = 1, .sampling = {.temperature = -1}}), contains("--temperature -1"));
  CHECK_THAT(refusal(prompt, {.tokens = 1, .sampling = {.temperature = HUGE_VAL}}), contains("--temperature inf"));
  CHECK_THAT(refusal(prompt, {.tokens = 1, .sampling = {.top_k = -1}}), contains("--top-k -1"));
  CHECK_THAT(refusal(prompt, {.tokens = 1, .sampling = {.top_p = 0}}), contains("--top-p 0"));
  CHECK_THAT(refusal(prompt, {.tokens = 1, .sampling = {.top_p = 1.5}}), contains("--top-p 1.5"));
}

TEST_CASE("bytes that come one by one go out as whole characters") {
  const std::string text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
  dca_lm::Utf8Stream stream;
  std::vector<std::string> characters;
  for (const char byte : text) {
    const std::string out = stream.push({&byte, 1});
    if (!out.empty()) characters.push_back(out);
  }
  CHECK(characters == std::vector<std::string>{"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "z"});
  CHECK(stream.finish().empty());
}

TEST_CASE("bytes that are no characters are replaced, as many as they begin") {
  const std::string mark = "\xef\xbf\xbd";
  const auto through = [](const std::string& bytes) {
    dca_lm::Utf8Stream stream;
    const std::string text = stream.push(bytes);
    return text + stream.finish();
  };
  CHECK(through("\xff"
                "a") == mark + "a");
  CHECK(through("\xe2\x82"
                "a") == mark + "a");
  CHECK(through("a\xf0\x9f\x98") == "a" + mark);
  CHECK(through("\xc0\x80") == mark + mark);                        // overlong
  CHECK(through("\xe0\x80\x80") == mark + mark + mark);             // overlong
  CHECK(through("\xed\xa0\x80") == mark + mark + mark);             // a surrogate
  CHECK(through("\xf4\x90\x80\x80") == mark + mark + mark + mark);  // beyond U+10FFFF
  CHECK(through("\x80\xc3\xa9") == mark + "\xc3\xa9");
}
