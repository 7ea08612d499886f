// SmolLM2-135M-Instruct, where it is on this machine, against token ids and likelihoods computed with other software.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "chat_template.hpp"
#include "open_model.hpp"
#include "support/catch.hpp"
#include "support/sanitized.hpp"
#include "support/skip.hpp"

using namespace dca_lm_test;

namespace {

#if defined(__GNUC__) && !defined(__OPTIMIZE__)
constexpr bool is_optimised = false;
#else
constexpr bool is_optimised = true;
#endif

/// The model that was asked for by name, or nullptr.
const char* given_model() {
  const char* const given = std::getenv("DCA_LM_MODEL");
  return given != nullptr && *given != '\0' ? given : nullptr;
}

std::string model_path() { return given_model() != nullptr ? given_model() : DCA_LM_DEFAULT_MODEL; }

/// Whether this run has nothing to compare, which the output tells.
bool is_skipped() {
  if (dca_test::is_sanitized) {
    // There these take minutes, and reach no code that the tests with tiny models do not.
    dca_test::skip("compiled with a sanitizer");
    return true;
  }
  if (!is_optimised) {
    dca_test::skip("compiled without optimisation");
    return true;
  }
  // A model that was asked for by name has to be there.
  if (given_model() != nullptr || std::filesystem::exists(model_path())) return false;
  dca_test::skip("no SmolLM2: script/fetch-model fetches it, DCA_LM_MODEL names it");
  return true;
}

nlohmann::json golden() {
  std::ifstream file(DCA_LM_GOLDEN);
  return nlohmann::json::parse(file);
}

/// Checks the likelihoods under `key` against those that the model finds with `choice`.
void check_nll(const char* key, const Choice& choice) {
  if (is_skipped()) return;
  const OpenModel model(model_path(), 2);
  const nlohmann::json expected = golden();
  const auto tokens = expected.at("tokens").get<std::vector<Token>>();
  const auto wanted = expected.at(key).get<std::vector<double>>();
  const std::vector<double> nll = model.negative_log_likelihoods(choice, tokens);
  REQUIRE(nll.size() == wanted.size());
  double largest = 0;
  for (std::size_t k = 0; k < nll.size(); ++k) {
    INFO("position " << k);
    REQUIRE(std::isfinite(nll[k]));
    largest = std::max(largest, std::abs(nll[k] - wanted[k]));
  }
  std::cout << key << ": off by at most " << largest << " nats" << std::endl;
  CHECK(largest < 2e-3);
}

}  // namespace

TEST_CASE("SmolLM2's likelihoods with plain RoPE are those of PyTorch") { check_nll("nll_rope", {.name = "rope"}); }

TEST_CASE("SmolLM2's likelihoods with DCA are those of PyTorch") {
  check_nll("nll_dca_384_64", {.name = "dca", .chunk_size = 384, .local_window = 64});
}

TEST_CASE("SmolLM2's token ids are those of its own tokenizer") {
  if (is_skipped()) return;
  const OpenModel model(model_path(), 2);
  const nlohmann::json expected = golden();
  const dca_lm::Tokenizer& tokenizer = model.tokenizer();
  for (const auto& one : expected.at("tokenizer_cases")) {
    const auto text = one.at("text").get<std::string>();
    INFO(text);
    CHECK(tokenizer.encode(text) == one.at("ids").get<std::vector<Token>>());
    CHECK(tokenizer.decode(one.at("ids").get<std::vector<Token>>()) == text);
  }
  CHECK(tokenizer.encode("\xe1\xa0\x8e's") == std::vector<Token>{172, 250, 232, 23, 99});  // U+180E is no white space
  // The text of the ids is theirs; encoded again it must fall into the same pieces.
  const auto tokens = expected.at("tokens").get<std::vector<Token>>();
  const std::string text = tokenizer.decode(tokens);
  CHECK(text.size() == expected.at("text_bytes").get<std::size_t>());
  CHECK(tokenizer.encode(text) == tokens);
}

TEST_CASE("SmolLM2's chat prompt is what its own template renders") {
  if (is_skipped()) return;
  const dca_lm::GgufFile file(model_path());
  const dca_lm::Tokenizer tokenizer(file);
  const dca_lm::ChatTemplate chat(file, tokenizer);
  const std::string expected =
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
      "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n";
  CHECK(chat.render("Hi there") == expected);
  const std::vector<Token> tokens = chat.prompt(tokenizer, "Hi there");
  CHECK(tokenizer.decode(tokens) == expected);
  CHECK(std::count(tokens.begin(), tokens.end(), 1) == 3);
  CHECK(std::count(tokens.begin(), tokens.end(), 2) == 2);
  CHECK(chat.end() == 2);
}
