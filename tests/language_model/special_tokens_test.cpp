// Tokens that no merge makes: the one that begins a text, and those that a file defines for its users.
#include <algorithm>

#include "chat_template.hpp"
#include "error_of.hpp"
#include "needle.hpp"
#include "open_model_parts.hpp"
#include "passkey.hpp"
#include "perplexity.hpp"
#include "program.hpp"

using namespace dca_lm_test;
using dca_lm::Token;
using dca_test::contains;

namespace {

constexpr Token bos = 256;  // <|endoftext|>

GgufContents with_bos(bool before_every_text) {
  Random random(30);  // the model of Files
  GgufContents contents = make_tiny_model({}, random);
  contents.set("tokenizer.ggml.bos_token_id", value(std::int32_t{bos}));
  contents.set("tokenizer.ggml.add_bos_token", value(before_every_text));
  return contents;
}

std::vector<Token> with_bos(std::vector<Token> tokens) {
  tokens.insert(tokens.begin(), bos);
  return tokens;
}

dca_lm::Tokenizer tokenizer_of(const GgufContents& contents) {
  const TempFile file(contents.bytes());
  return dca_lm::Tokenizer(dca_lm::GgufFile(file.path()));
}

/// Bytes, and beside them tokens of the given types.
GgufContents with_tokens(const std::vector<std::pair<std::string, std::int32_t>>& more) {
  GgufContents contents;
  std::vector<std::string> tokens = printable_bytes();
  std::vector<std::int32_t> types(tokens.size(), 1);
  for (const auto& [token, type] : more) {
    tokens.push_back(token);
    types.push_back(type);
  }
  set_tokenizer(contents, tokens, {});
  contents.set("tokenizer.ggml.token_type", array(types));
  return contents;
}

}  // namespace

TEST_CASE("a text begins with the model's token for that where the file wants it") {
  const std::string text = "the 12 rains";
  const dca_lm::Tokenizer without = tokenizer_of(with_bos(false)), with = tokenizer_of(with_bos(true));
  CHECK(without.encode_text(text) == without.encode(text));
  CHECK(with.encode_text(text) == with_bos(with.encode(text)));
  CHECK(with.encode(text) == without.encode(text));
  CHECK(with.encode_text("") == std::vector<Token>{bos});
  CHECK(with.start() == bos);
  CHECK(without.start() == std::nullopt);
  CHECK(without.bos() == bos);
}

TEST_CASE("a token before every text that the file does not name is refused") {
  const auto refusal = [](const GgufContents& contents) { return error_of([&] { tokenizer_of(contents); }); };
  GgufContents contents = with_bos(true);
  contents.erase("tokenizer.ggml.bos_token_id");
  CHECK_THAT(refusal(contents), contains("tokenizer.ggml.add_bos_token: true; must be false where there is no"));
  contents.set("tokenizer.ggml.bos_token_id", value(std::uint32_t{264}));
  CHECK_THAT(refusal(contents), contains("tokenizer.ggml.bos_token_id: 264; must be from 0 to 263"));
  contents.set("tokenizer.ggml.bos_token_id", value(std::uint32_t{263}));
  contents.set("tokenizer.ggml.add_bos_token", value("yes"));
  CHECK_THAT(refusal(contents), contains("tokenizer.ggml.add_bos_token: wrong type"));
  contents.set("tokenizer.ggml.add_bos_token", value(std::uint8_t{1}));
  CHECK(refusal(contents) == "no error");
  contents.set("tokenizer.ggml.add_bos_token", value(false));
  for (const Value& none : {value(std::int32_t{-1}), value(std::uint32_t{264}), value(0xffffffffU), value("none")}) {
    contents.set("tokenizer.ggml.bos_token_id", none);
    CHECK(refusal(contents) == "no error");
    CHECK(tokenizer_of(contents).bos() == std::nullopt);
  }
}

TEST_CASE("every command begins its texts with that token") {
  Files files;
  const std::string json = " --json " + files.results.path(), dca = " --attention dca";
  const auto results_of = [&](const std::string& command) {
    const Outcome outcome = run(command + json);
    INFO(command << "\n" << outcome.output);
    REQUIRE(outcome.exit_code == 0);
    return nlohmann::json::parse(files.results.read());
  };
  const auto prompt_of = [&](const nlohmann::json& batch) { return batch.at("prompts").at(0).at("prompt_tokens"); };
  const std::string batch = "batch --tokens 2 --prompt-file " + files.text.path() + " --model " + files.model.path();
  const auto count = results_of(files.generate("--tokens 2" + dca)).at("prompt_tokens").get<int>();
  CHECK(prompt_of(results_of(batch + dca)) == count);

  const TempFile with(with_bos(true).bytes());
  files.model.cut(0);
  files.model.write(with.read());
  const OpenModel model(with.path());
  const std::vector<Token> text = with_bos(model.tokenizer().encode(files.sentences));
  CHECK(results_of(files.generate("--tokens 2" + dca)).at("prompt_tokens") == count + 1);
  CHECK(prompt_of(results_of(batch + dca)) == count + 1);
  const auto nll = results_of(files.ppl("--tokens 90 --attention rope --nll")).at("nll").get<std::vector<double>>();
  const std::vector<double> expected = model.negative_log_likelihoods({}, {text.begin(), text.begin() + 91});
  REQUIRE(nll.size() == expected.size());
  for (std::size_t k = 0; k < nll.size(); ++k) CHECK(nll[k] == dca_test::Approx(expected[k]).margin(1e-5));
}

TEST_CASE("hidden keys and sentences come after the token that begins a text") {
  const dca_lm::Tokenizer without = tokenizer_of(with_bos(false)), with = tokenizer_of(with_bos(true));
  const std::vector<Token> hay(300, 80);
  const dca_lm::Haystack haystack{hay, "hay.txt"};
  for (const double depth : {0.0, 0.5, 1.0}) {
    const std::vector<Token> needle = dca_lm::needle_prompt(with, haystack, "river", depth, 200);
    CHECK(needle.size() == 200);
    CHECK(needle.front() == bos);
    CHECK(std::count(needle.begin(), needle.end(), bos) == 1);
    CHECK(with_bos(dca_lm::needle_prompt(without, haystack, "river", depth, 199)) == needle);
    const std::vector<Token> passkey = dca_lm::passkey_prompt(with, "12345", depth, 701);
    CHECK(passkey == with_bos(dca_lm::passkey_prompt(without, "12345", depth, 700)));
  }
}

TEST_CASE("with a sliding context, each begins with the token that begins a text") {
  const TempFile file(with_bos(true).bytes());
  const OpenModel model(file.path());
  const OpenModel::Parts& parts = model.parts();
  std::vector<Token> tokens = {bos};
  Random random(72);
  while (tokens.size() < 71) tokens.push_back(static_cast<Token>(random.integer(0, 255)));
  const dca_lm::Attention attention = parts.attention({});
  dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = 20});
  const std::vector<double> nll = dca_lm::negative_log_likelihoods(
      session, tokens, dca_lm::SlidingContext{20, 10, parts.tokenizer.start()}, [](double) {});
  REQUIRE(nll.size() == 70);
  for (const std::ptrdiff_t at : {0, 19, 20, 29, 30, 64, 69}) {
    const std::ptrdiff_t first = at < 20 ? 0 : at / 10 * 10 - 10;
    std::vector<Token> context(tokens.begin() + first, tokens.begin() + at + 2);
    context.front() = bos;
    INFO("position " << at);
    CHECK(nll[static_cast<std::size_t>(at)] ==
          dca_test::Approx(model.negative_log_likelihoods({}, context).back()).margin(1e-4));
  }
}

TEST_CASE("a chat prompt begins once with the token that begins a text, where the template or the file has it") {
  const std::string chatml =
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
      "'\n'}}{% endfor %}";
  const auto prompt_of = [&](const std::string& text, bool before_every_text, Token begins) {
    GgufContents contents = with_tokens({{"<s>", 3}, {"<|im_start|>", 3}, {"<|im_end|>", 3}});
    contents.set("tokenizer.chat_template", value(text));
    contents.set("tokenizer.ggml.bos_token_id", value(std::int32_t{begins}));
    contents.set("tokenizer.ggml.add_bos_token", value(before_every_text));
    const TempFile written(contents.bytes());
    const dca_lm::GgufFile file(written.path());
    const dca_lm::Tokenizer tokenizer(file);
    const dca_lm::ChatTemplate chat(file, tokenizer);
    const std::vector<Token> tokens = chat.prompt(tokenizer, "Hi");
    const bool rendered = chat.render("Hi").starts_with("<s>");
    CHECK(rendered == (text != chatml && begins == 256));
    return std::vector<Token>(tokens.begin(), tokens.begin() + 2);
  };
  CHECK(prompt_of(chatml, false, 256) == std::vector<Token>{257, 'u'});
  CHECK(prompt_of(chatml, true, 256) == std::vector<Token>{256, 257});
  CHECK(prompt_of("{{ bos_token }}" + chatml, false, 256) == std::vector<Token>{256, 257});
  CHECK(prompt_of("{{ bos_token }}" + chatml, true, 256) == std::vector<Token>{256, 257});
  CHECK(prompt_of(chatml, true, 257) == std::vector<Token>{257, 'u'});  // it is <|im_start|>
}

TEST_CASE("tokens that a file defines for its users are looked for in texts, the longest first") {
  const dca_lm::Tokenizer tokenizer = tokenizer_of(
      with_tokens({{"<tool>", 4}, {"<tool><end>", 4}, {"<eot>", 3}, {"\xe6\x97\xa5 1", 4}, {"\xc3\xa9", 4}}));
  const auto encoded = [&](const std::string& text) { return tokenizer.encode(text); };
  CHECK(encoded("a<tool>b") == std::vector<Token>{'a', 256, 'b'});
  CHECK(encoded("<tool><tool><end>") == std::vector<Token>{256, 257});
  CHECK(encoded("<end>") == std::vector<Token>{'<', 'e', 'n', 'd', '>'});
  CHECK(encoded("<eot>") == std::vector<Token>{'<', 'e', 'o', 't', '>'});  // control tokens are text
  CHECK(encoded("\xe6\x97\xa5 12\xc3\xa9") == std::vector<Token>{259, '2', 260});
  CHECK(tokenizer.decode(std::vector<Token>{259, 260, 258}) == "\xe6\x97\xa5 1\xc3\xa9<eot>");
  CHECK_THAT(error_of([&] { encoded("ab<tool>c\xff"); }), contains("text: not UTF-8 at byte 9"));
}

TEST_CASE("a long text is cut at any of twenty thousand tokens that a file defines for its users") {
  std::vector<std::pair<std::string, std::int32_t>> tokens;
  for (int number = 0; number < 20000; ++number) tokens.emplace_back("<>", 4).first.insert(1, std::to_string(number));
  const dca_lm::Tokenizer tokenizer = tokenizer_of(with_tokens(tokens));
  Random random(73);
  std::string text;
  std::vector<Token> expected;
  while (text.size() < 1'000'000) {
    const auto number = static_cast<Token>(random.integer(0, 19999));
    text += "<a" + tokens[static_cast<std::size_t>(number)].first;
    expected.insert(expected.end(), {'<', 'a', 256 + number});
  }
  CHECK(tokenizer.encode(text) == expected);
}

TEST_CASE("types are needed for every token") {
  GgufContents contents = with_tokens({});
  contents.set("tokenizer.ggml.token_type", array<std::int32_t>({1, 1}));
  CHECK_THAT(error_of([&] { tokenizer_of(contents); }),
             contains("tokenizer.ggml.token_type: 2 types; must be one for each of 256 tokens"));
}
