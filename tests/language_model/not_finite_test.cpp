// Weights that are NaN or infinite: no command gives a result that means nothing.
#include <cmath>
#include <limits>

#include "batch.hpp"
#include "error_of.hpp"
#include "generation.hpp"
#include "needle.hpp"
#include "open_model_parts.hpp"
#include "passkey.hpp"
#include "perplexity.hpp"
#include "program.hpp"

using namespace dca_lm_test;
using dca_test::contains;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN(),
                infinity = std::numeric_limits<float>::infinity();
constexpr Token bad = 7;

/// A model with `weight` in an F32 tensor at element `at`.
GgufContents spoiled(const TinySizes& sizes, const std::string& tensor, std::int64_t at, float weight) {
  Random random(60);
  GgufContents contents = make_tiny_model(sizes, random);
  TensorData& data = contents.tensor(tensor).data;
  REQUIRE(data.type == f32_type);
  data.bytes.replace(static_cast<std::size_t>(at) * 4, 4, raw(weight));
  return contents;
}

/// Tokens 0, 1, 2, ... without `bad`, which stands at position 25 alone.
std::vector<Token> text_with_bad_token() {
  std::vector<Token> tokens;
  for (Token token = 0; token < 60; ++token) tokens.push_back(token == bad ? 100 : token);
  tokens[25] = bad;
  return tokens;
}

}  // namespace

TEST_CASE("the position is named from which on logits are not finite") {
  // With a head of its own, the embedding of a token is there where the token is.
  const TinySizes sizes{.own_head = true};
  for (const float weight : {not_a_number, infinity, -infinity}) {
    const TempFile file(spoiled(sizes, "token_embd.weight", bad * sizes.width + 3, weight).bytes());
    const OpenModel model(file.path(), 2);
    const OpenModel::Parts& parts = model.parts();
    const dca_lm::Attention attention = parts.attention({.name = "dca", .chunk_size = 24, .local_window = 8});
    dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = 100});
    const std::vector<Token> tokens = text_with_bad_token();
    const auto ignore = [](double) {};
    const auto refusal = [](const auto& call) { return error_of(call); };
    CHECK_THAT(refusal([&] { dca_lm::negative_log_likelihoods(session, tokens, ignore); }),
               contains("the logits at position 25; must be finite"));
    CHECK_THAT(refusal([&] { dca_lm::last_negative_log_likelihoods(session, tokens, 9, ignore); }),
               contains("the logits at position 50; must be finite"));
    CHECK_THAT(refusal([&] {
                 dca_lm::negative_log_likelihoods(session, tokens, dca_lm::SlidingContext{20, 10}, ignore);
               }),
               contains("the logits at position 25; must be finite"));
    session.truncate(0);
    const std::span<const Token> all(tokens);
    CHECK_THAT(refusal([&] { dca_lm::generate(session, all, {.tokens = 3}, nullptr, nullptr); }),
               contains("the logits at position 59; must be finite"));
    const std::vector<std::vector<Token>> prompts = {{1, 2, 3}, tokens};
    const dca_lm::BatchOptions options{.tokens = 3, .prefill_chunk = 20};
    CHECK_THAT(
        refusal([&] { dca_lm::run_one_by_one(parts.model, attention, parts.executor, {}, prompts, options, nullptr); }),
        contains("prompt 2: the logits at position 59; must be finite"));
    const dca_lm::Matrix hidden = dca_lm::Matrix::Constant(2, sizes.width, weight);
    CHECK_THAT(refusal([&] { parts.model.log_probabilities(hidden, dca_lm::positions_from(3)); }),
               contains("the logits at position 3; must be finite"));
    session.truncate(0);
    CHECK(dca_lm::generate(session, all.first(25), {.tokens = 1}, nullptr, nullptr).tokens.size() == 1);
  }
}

TEST_CASE("one logit that is not finite is enough") {
  // The embedding is the head as well: a token has such a logit everywhere, though no text contains it.
  for (const float weight : {not_a_number, infinity, -infinity}) {
    const TempFile file(spoiled({}, "token_embd.weight", tiny_vocabulary() * 32 - 1, weight).bytes());
    const OpenModel model(file.path(), 1);
    CHECK_THAT(error_of([&] { model.negative_log_likelihoods({}, {1, 2, 3, 4}); }), contains("position"));
    CHECK_THAT(error_of([&] { model.log_probabilities({}, {1, 2, 3, 4}); }), contains("position"));
  }
}

TEST_CASE("the likelihood is finite where both logits are, however far apart") {
  Random random(61);
  GgufContents contents = make_tiny_model({}, random);
  std::string rows;
  for (std::int64_t token = 0; token < tiny_vocabulary(); ++token) {
    for (int k = 0; k < 32; ++k) rows += raw(token == 0 ? 1.0f : token == 1 ? -1.0f : 0.0f);
  }
  contents.tensor("token_embd.weight").data.bytes = rows;
  const TempFile file(contents.bytes());
  const OpenModel model(file.path());
  const std::vector<Token> target = {1};
  std::vector<double> nll(1);
  model.parts().model.negative_log_likelihoods(dca_lm::Matrix::Constant(1, 32, 9e36f), target, nll);
  CHECK(nll[0] == dca_test::Approx(64 * 9e36));
}

TEST_CASE("every command fails where logits are not finite") {
  Files files;
  files.model.write(spoiled({}, "output_norm.weight", 5, not_a_number).bytes());
  const std::string model = " --model " + files.model.path(), text = files.text.path(), dca = " --attention dca";
  const std::vector<std::pair<std::string, std::string>> commands = {
      {files.ppl("--tokens 100" + dca), "position 0;"},
      {files.ppl("--tokens 100 --attention rope --context 40"), "position 0;"},
      {files.generate("--tokens 3" + dca), "position"},
      {files.generate("--tokens 3 --temperature 1 --top-k 5" + dca), "position"},
      {"batch --check --tokens 3 --prompt-file " + text + model + dca, "of prompt 1 (" + text + ");"},
      {files.passkey("--tokens 600 --trials 1" + dca), "position"},
      {files.needle("--tokens 160 --trials 1" + dca), "position"},
      {"tune --tokens 100 --text " + text + model, "position 64;"}};
  for (const auto& [command, place] : commands) {
    INFO(command);
    const Outcome outcome = run(command);
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.output, contains("the logits at "));
    CHECK_THAT(outcome.output, contains(place));
  }
}
