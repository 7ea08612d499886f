// The forward pass against its definition in double, and sessions in pieces.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "error_of.hpp"
#include "forward.hpp"
#include "open_model_parts.hpp"
#include "support/bounds.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"

using namespace dca_lm_test;
using dca_test::contains;
namespace reference = dca_test::reference;

namespace {

constexpr std::int64_t length = 90;  // tokens: beyond the trained window of 64, and many chunks

std::vector<Token> random_tokens(std::int64_t count, Random& random) {
  std::vector<Token> tokens;
  for (std::int64_t k = 0; k < count; ++k) {
    tokens.push_back(static_cast<Token>(random.integer(0, static_cast<std::ptrdiff_t>(tiny_vocabulary()) - 1)));
  }
  return tokens;
}

/// YaRN's ramp over the pairs (Peng et al. 2023, beta_fast 32 and beta_slow 1) and its 0.1 ln(scale) + 1.
reference::Rope yarn(const TinySizes& sizes, double scale) {
  const auto dim = static_cast<double>(sizes.rotary_dim);
  const auto pair_that_turns = [&](double times) {
    const double positions_per_turn = static_cast<double>(sizes.trained_window) / times;
    return dim * std::log(positions_per_turn / (2 * std::acos(-1.0))) / (2 * std::log(sizes.theta));
  };
  const double low = std::max(0.0, std::floor(pair_that_turns(32)));
  const double high = std::min(dim - 1, std::ceil(pair_that_turns(1)));
  reference::Rope rope{reference::inverse_frequencies(sizes.rotary_dim, sizes.theta), 0.1 * std::log(scale) + 1, true};
  for (std::size_t m = 0; m < rope.inv_freq.size(); ++m) {
    const double slowed = std::min(1.0, std::max(0.0, (static_cast<double>(m) - low) / (high - low)));
    rope.inv_freq[m] *= 1 - slowed + slowed / scale;
  }
  return rope;
}

/// The past through a window and the first tokens, which stand right before it.
reference::PositionMatrix sinks_and_window(std::int64_t sinks, std::int64_t window) {
  return [=](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    if (j > i || (i - j >= window && j >= sinks)) return std::nullopt;
    if (i - j < window) return reference::Positions{i, j};
    return reference::Positions{std::min(i, sinks + window - 1), j};
  };
}

/// True distances within the window, groups of positions beyond.
reference::PositionMatrix window_and_groups(std::int64_t window, std::int64_t group) {
  return [=](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    if (j > i) return std::nullopt;
    if (i - j < window) return reference::Positions{i, j};
    return reference::Positions{i / group - window / group + window, j / group};
  };
}

/// Dual chunks without the part for the preceding chunk: that chunk is seen like all others before the query's own,
/// from one constant position, or no other chunk is seen at all.
reference::PositionMatrix chunks_without_succession(std::int64_t chunk_size, std::int64_t local_window, bool others) {
  const std::int64_t length_of_chunk = chunk_size - local_window;
  const std::int64_t farthest = std::min(chunk_size, 2 * length_of_chunk - 1);
  return [=](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    const bool same = i / length_of_chunk == j / length_of_chunk;
    if (j > i || (!same && !others)) return std::nullopt;
    return reference::Positions{same ? i % length_of_chunk : farthest, j % length_of_chunk};
  };
}

reference::PositionMatrix positions_of(const Choice& choice) {
  if (choice.name.starts_with("dca")) return reference::dual_chunk(choice.chunk_size, choice.local_window);
  if (choice.name == "streaming") return sinks_and_window(choice.sinks, choice.window);
  if (choice.name == "self-extend") return window_and_groups(choice.window, choice.group);
  if (choice.name == "intra") return chunks_without_succession(choice.chunk_size, choice.local_window, false);
  if (choice.name == "intra+inter") return chunks_without_succession(choice.chunk_size, choice.local_window, true);
  return reference::causal();
}

AttentionByDefinition by_definition(const Choice& choice, const TinySizes& sizes, GgufContents& model) {
  const auto dim = static_cast<double>(sizes.rotary_dim);
  const double theta =
      choice.name.ends_with("ntk") ? sizes.theta * std::pow(choice.rope_scale, dim / (dim - 2)) : sizes.theta;
  const double position_scale = choice.name == "linear" ? choice.rope_scale : 1.0;
  AttentionByDefinition attention;
  attention.positions = positions_of(choice);
  attention.rope = {reference::inverse_frequencies(sizes.rotary_dim, theta, position_scale), 1.0, true};
  if (choice.name.ends_with("yarn")) attention.rope = yarn(sizes, choice.rope_scale);
  if (sizes.frequency_divisors) {
    const std::vector<double> divisors = decoded(model.tensor("rope_freqs.weight").data);
    for (std::size_t m = 0; m < divisors.size(); ++m) attention.rope.inv_freq[m] /= divisors[m];
  }
  return attention;
}

/// How far log probabilities in float may be from exact ones. A state goes through 3 products a layer, one after the
/// other, an attention, and the product with the vocabulary; each is a sum of at most `terms` terms and adds a relative
/// error of at most terms * u of its terms' size. RMSNorm keeps that size near 1, and the last product makes it that of
/// the logits, of which the log probabilities span at least half.
double bound(const TinySizes& sizes, const dca_test::Array& expected) {
  const double unit_roundoff = 0.5 * static_cast<double>(std::numeric_limits<float>::epsilon());
  const auto terms = static_cast<double>(std::max({sizes.width, sizes.hidden, length}));
  const auto products = static_cast<double>(4 * sizes.layers + 1);
  return products * terms * unit_roundoff * dca_test::largest_finite(expected);
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double largest = 0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const double difference = std::abs(static_cast<double>(a[k]) - static_cast<double>(b[k]));
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

const std::vector<Choice> all_choices = {
    {.name = "rope"},
    {.name = "linear", .rope_scale = 2.0},
    {.name = "ntk", .rope_scale = 2.0},
    {.name = "yarn", .rope_scale = 3.0},
    {.name = "dca", .chunk_size = 24, .local_window = 8},
    {.name = "dca", .chunk_size = 7, .local_window = 5},
    {.name = "dca", .chunk_size = 16, .local_window = 0},
    {.name = "dca+ntk", .chunk_size = 24, .local_window = 8, .rope_scale = 2.0},
    {.name = "dca+yarn", .chunk_size = 24, .local_window = 8, .rope_scale = 3.0},
    {.name = "streaming", .sinks = 3, .window = 20},
    {.name = "streaming", .sinks = 0, .window = 5},
    {.name = "self-extend", .window = 20, .group = 3},
    {.name = "intra", .chunk_size = 24, .local_window = 8},
    {.name = "intra+inter", .chunk_size = 24, .local_window = 8},
    {.name = "intra+inter", .chunk_size = 7, .local_window = 5},
};

/// A random model in a file, opened.
struct Tiny {
  explicit Tiny(std::uint64_t stream, const TinySizes& of = {})
      : sizes(of),
        random(stream),
        contents(make_tiny_model(sizes, random)),
        file(contents.bytes()),
        model(file.path()) {}

  /// Checks all attentions against their definitions.
  void check_all() {
    const std::vector<Token> tokens = random_tokens(length, random);
    for (const Choice& choice : all_choices) {
      INFO(choice.name << ", chunk_size " << choice.chunk_size);
      const auto expected =
          log_probabilities_by_definition(contents, sizes, tokens, by_definition(choice, sizes, contents));
      CHECK(dca_test::largest_error(model.log_probabilities(choice, tokens), expected) < bound(sizes, expected));
    }
  }

  TinySizes sizes;
  Random random;
  GgufContents contents;
  TempFile file;
  OpenModel model;
};

}  // namespace

TEST_CASE("log probabilities are those of the definition, for every attention") { Tiny(10).check_all(); }

TEST_CASE("log probabilities are those of the definition, with a head and frequency divisors of the file's own") {
  Tiny(11, {.own_head = true, .frequency_divisors = true}).check_all();
}

TEST_CASE("log probabilities are those of the definition, for partial rotary and kv heads of each query head") {
  Tiny(12, {.layers = 1, .width = 64, .heads = 4, .kv_heads = 4, .hidden = 32, .rotary_dim = 8}).check_all();
}

TEST_CASE("log probabilities are those of the definition, with weights in blocks of 256") {
  Tiny(23, {.width = 256, .heads = 4, .kv_heads = 2, .hidden = 256, .rotary_dim = 32}).check_all();
}

TEST_CASE("the bound tells the attentions apart") {
  Tiny tiny(13);
  const std::vector<Token> tokens = random_tokens(length, tiny.random);
  std::vector<std::vector<float>> results;
  for (const Choice& choice : all_choices) results.push_back(tiny.model.log_probabilities(choice, tokens));
  const auto expected = log_probabilities_by_definition(tiny.contents, tiny.sizes, tokens,
                                                        by_definition(all_choices[0], tiny.sizes, tiny.contents));
  for (std::size_t a = 0; a < results.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      INFO(all_choices[a].name << " and " << all_choices[b].name);
      CHECK(largest_difference(results[a], results[b]) > 50 * bound(tiny.sizes, expected));
    }
  }
}

TEST_CASE("kv heads are as many as heads where the file does not say") {
  Tiny tiny(14, {.layers = 1, .heads = 4, .kv_heads = 4});
  const std::vector<Token> tokens = random_tokens(length, tiny.random);
  GgufContents silent = tiny.contents;
  silent.erase("llama.attention.head_count_kv");
  silent.erase("llama.rope.dimension_count");
  silent.erase("llama.rope.freq_base");
  const TempFile file(silent.bytes());
  CHECK(largest_difference(OpenModel(file.path()).log_probabilities({}, tokens),
                           tiny.model.log_probabilities({}, tokens)) == 0);
}

TEST_CASE("a text read in pieces is the text read at once") {
  Tiny tiny(15);
  const std::vector<Token> tokens = random_tokens(length, tiny.random);
  for (const Choice& choice : all_choices) {
    const auto expected = log_probabilities_by_definition(tiny.contents, tiny.sizes, tokens,
                                                          by_definition(choice, tiny.sizes, tiny.contents));
    for (const std::ptrdiff_t step : {1, 7, 16, 89}) {
      INFO(choice.name << ", chunk_size " << choice.chunk_size << ", " << step << " tokens at a time");
      CHECK(dca_test::largest_error(tiny.model.log_probabilities(choice, tokens, step), expected) <
            bound(tiny.sizes, expected));
    }
  }
}

TEST_CASE("the number of threads does not change a bit") {
  Tiny tiny(16);
  const std::vector<Token> tokens = random_tokens(300, tiny.random);  // three blocks of rows
  const OpenModel threaded(tiny.file.path(), 3);
  for (const Choice& choice : all_choices) {
    INFO(choice.name);
    CHECK(largest_difference(threaded.log_probabilities(choice, tokens),
                             tiny.model.log_probabilities(choice, tokens)) == 0);
  }
}

TEST_CASE("what was truncated leaves no trace") {
  Tiny tiny(17);
  const std::vector<Token> tokens = random_tokens(60, tiny.random), others = random_tokens(60, tiny.random);
  const OpenModel::Parts& parts = tiny.model.parts();
  for (const Choice& choice : all_choices) {
    const dca_lm::Attention attention = parts.attention(choice);
    dca_lm::Session fresh(parts.model, attention, parts.executor, {.tokens = 60});
    dca_lm::Session used(parts.model, attention, parts.executor, {.tokens = 60});
    fresh.read(std::span(tokens).first(25), 1);
    const dca_lm::Matrix expected = fresh.read(std::span(tokens).last(35), 35);

    used.read(std::span(tokens).first(25), 1);
    used.read(std::span(others).first(35), 1);
    used.truncate(25);
    CHECK(used.length() == 25);
    CHECK((used.read(std::span(tokens).last(35), 35) == expected));
    used.truncate(100);
    CHECK(used.length() == 60);
  }
}

TEST_CASE("a session gives the last states that were asked for, at most all") {
  Tiny tiny(18);
  const std::vector<Token> tokens = random_tokens(20, tiny.random);
  const OpenModel::Parts& parts = tiny.model.parts();
  const dca_lm::Attention attention = parts.attention({});
  dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = 20});
  const dca_lm::Matrix all = session.read(tokens, 50);
  REQUIRE(all.rows() == 20);
  session.truncate(0);
  // Normalised in other company, sums of `width` squares may be rounded otherwise.
  const float rounding = static_cast<float>(tiny.sizes.width) * std::numeric_limits<float>::epsilon();
  const dca_lm::Matrix last = session.read(tokens, 3);
  REQUIRE(last.rows() == 3);
  CHECK((last - all.bottomRows(3)).cwiseAbs().maxCoeff() < rounding * all.cwiseAbs().maxCoeff());
}

TEST_CASE("what a session cannot read is refused and changes nothing") {
  Tiny tiny(19);
  const std::vector<Token> tokens = random_tokens(12, tiny.random);
  const OpenModel::Parts& parts = tiny.model.parts();
  const dca_lm::Attention attention = parts.attention({.name = "dca", .chunk_size = 6, .local_window = 2});
  dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = 10});
  dca_lm::Session other(parts.model, attention, parts.executor, {.tokens = 10});
  session.read(std::span(tokens).first(4), 1);
  other.read(std::span(tokens).first(4), 1);

  CHECK_THAT(error_of([&] { session.read(std::span(tokens).first(7), 1); }),
             contains("7 tokens after 4; there is room for 10"));
  CHECK_THAT(error_of([&] { session.read(std::span<const Token>(), 1); }), contains("0 tokens after 4"));
  for (const Token token : {-1, static_cast<Token>(tiny_vocabulary())}) {
    const std::vector<Token> wrong = {1, token};
    CHECK_THAT(error_of([&] { session.read(wrong, 1); }),
               contains("token " + std::to_string(token) + " is not in the vocabulary"));
  }
  CHECK(session.length() == 4);
  CHECK((session.read(std::span(tokens).last(6), 6) == other.read(std::span(tokens).last(6), 6)));
}

TEST_CASE("attentions that cannot be are refused by name") {
  const Tiny tiny(20);
  const auto make = [&](const Choice& choice) { return tiny.model.parts().attention(choice); };
  CHECK_THAT(error_of([&] { make({.name = "sparse"}); }), contains("--attention sparse; must be dca, rope"));
  for (const Choice& choice :
       {Choice{.name = "dca", .chunk_size = 0}, Choice{.name = "dca", .chunk_size = 4, .local_window = 4},
        Choice{.name = "dca", .chunk_size = 4, .local_window = -1}, Choice{.name = "ntk", .rope_scale = 0.5},
        Choice{.name = "yarn", .rope_scale = 0.0}, Choice{.name = "linear", .rope_scale = 0.0},
        Choice{.name = "intra", .chunk_size = 4, .local_window = 4},
        Choice{.name = "dca+yarn", .chunk_size = 4, .rope_scale = 0.0}}) {
    CHECK_THROWS_AS(make(choice), std::invalid_argument);
  }
  CHECK_THAT(error_of([&] { make({.name = "streaming", .sinks = -1, .window = 4}); }), contains("--sinks -1; must be"));
  CHECK_THAT(error_of([&] { make({.name = "streaming", .window = 0}); }), contains("--window 0; must be at least 1"));
  CHECK_THAT(error_of([&] { make({.name = "self-extend", .window = 4, .group = 0}); }), contains("--group 0; must be"));
}

TEST_CASE("sizes that a choice leaves open follow from the trained window and the text") {
  const dca_lm::AttentionChoice open{.name = "streaming", .local_window = -1, .rope_scale = 0};
  const auto filled = [&](const char* name, std::ptrdiff_t tokens) {
    dca_lm::AttentionChoice choice = open;
    choice.name = name;
    return dca_lm::with_defaults(choice, 64, tokens);
  };
  CHECK(filled("streaming", 500).window == 60);
  CHECK(filled("self-extend", 500).window == 16);
  for (const std::ptrdiff_t tokens : {10, 64, 65, 112, 113, 500}) {
    const dca_lm::AttentionChoice choice = filled("self-extend", tokens);
    // The farthest key, from the last query, in groups so small and in smaller ones.
    const auto farthest = [&](std::ptrdiff_t group) { return (tokens - 16 + group - 1) / group + 16; };
    CHECK((choice.group == 1 || farthest(choice.group) <= 64));
    CHECK((choice.group == 1 || farthest(choice.group - 1) > 64));
  }
  CHECK(filled("dca+yarn", 128).rope_scale == 2.0);
  CHECK(filled("intra", 128).chunk_size == 48);
  CHECK(filled("intra", 128).local_window == 8);
}
