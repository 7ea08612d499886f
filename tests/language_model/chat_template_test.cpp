// Chat templates of the ChatML family.
#include "chat_template.hpp"

#include "error_of.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_lm::ChatTemplate;
using dca_lm::GgufFile;
using dca_lm::Token;
using dca_lm::Tokenizer;
using dca_test::contains;

namespace {

/// SmolLM2's, as its file has it.
const std::string smollm =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "are "
    "a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\n' }}{% endif %}";
const std::string smollm_system =
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n";

constexpr Token start = 256, end = 257;

/// A file with a tokenizer of bytes, the two marks and a few merges.
struct ChatFile {
  explicit ChatFile(const std::string& text, const std::string& end_mark = "<|im_end|>") {
    Random random(60);
    GgufContents contents = make_tiny_model({}, random);
    std::vector<std::string> tokens = printable_bytes();
    tokens.push_back("<|im_start|>");
    tokens.push_back(end_mark);
    set_tokenizer(contents, tokens, {{"t", "h"}, {"i", "n"}, {"e", "r"}, {"1", "2"}, {"a", "n"}, {"o", "u"}});
    if (!text.empty()) contents.set("tokenizer.chat_template", value(text));
    written.write(contents.bytes());
  }

  TempFile written{""};
};

std::string rendered(const std::string& text, const std::string& message) {
  const ChatFile written(text);
  const GgufFile file(written.written.path());
  return ChatTemplate(file, Tokenizer(file)).render(message);
}

std::string refusal(const ChatFile& written) {
  const GgufFile file(written.written.path());
  return error_of([&] { ChatTemplate(file, Tokenizer(file)); });
}

/// The system turn of a template by its definition, opening by opening: "<|im_start|>...<|im_end|>\n", or nothing.
std::string system_turn_of(const std::string& text) {
  const std::string opening = "<|im_start|>system", closing = "<|im_end|>";
  for (std::size_t at = text.find(opening); at != std::string::npos; at = text.find(opening, at + 1)) {
    const std::size_t first = at + 12, last = text.find(closing, at);
    if (last == std::string::npos) return "";
    const std::string literal = text.substr(first, last - first);
    const char quote = at > 0 ? text[at - 1] : ' ';
    const bool quoted = quote == '\'' || quote == '"';
    bool whole = literal.find("{{") == std::string::npos && literal.find("{%") == std::string::npos;
    std::string characters;
    for (std::size_t k = 0; k < literal.size(); ++k) {
      whole = whole && !(quoted && literal[k] == quote);
      if (quoted && literal[k] == '\\' && k + 1 < literal.size()) ++k;
      characters += literal[k];
    }
    if (whole) return "<|im_start|>" + characters + closing + "\n";
  }
  return "";
}

}  // namespace

TEST_CASE("SmolLM2's template adds its own system message") {
  CHECK(rendered(smollm, "Hi there") ==
        smollm_system + "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n");
}

TEST_CASE("a system message may be written with escapes, or in double quotes") {
  std::string escaped = smollm;
  for (std::size_t at; (at = escaped.find('\n')) != std::string::npos;) escaped.replace(at, 1, "\\n");
  CHECK(rendered(escaped, "Hi") == smollm_system + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  CHECK(rendered("{{ \"<|im_start|>system\\nIt's me.<|im_end|>\\n\" }}", "Hi") ==
        "<|im_start|>system\nIt's me.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST_CASE("a template without a system message of its own has no such turn") {
  const std::string plain =
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
      "+ '<|im_end|>' + '\n'}}{% endfor %}";
  CHECK(rendered(plain, "Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  // Here the message is an expression's.
  const std::string given = "{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}" + plain;
  CHECK(rendered(given, "Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  const std::string between = "<|im_start|>system\n{{ system_message }}<|im_end|>\n" + plain;
  CHECK(rendered(between, "Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST_CASE("the template's marks are single tokens, and what looks like one in a message is text") {
  const ChatFile written(smollm);
  const GgufFile file(written.written.path());
  const Tokenizer tokenizer(file);
  const ChatTemplate chat(file, tokenizer);
  CHECK(chat.end() == end);
  for (const std::string& message :
       {std::string("the other 12"), std::string("a <|im_end|> of\nmine"), std::string()}) {
    const std::vector<Token> tokens = chat.prompt(tokenizer, message);
    CHECK(tokenizer.decode(tokens) == chat.render(message));
    CHECK(std::count(tokens.begin(), tokens.end(), start) == 3);
    CHECK(std::count(tokens.begin(), tokens.end(), end) == 2);
    CHECK(tokens.front() == start);
    // Each turn is encoded by itself, as the marks cut it off.
    std::vector<Token> last = {end};
    for (const std::string& text : {std::string("\n"), std::string("assistant\n")}) {
      const std::vector<Token> encoded = tokenizer.encode(text);
      last.insert(last.end(), encoded.begin(), encoded.end());
      if (text == "\n") last.push_back(start);
    }
    CHECK(std::equal(last.rbegin(), last.rend(), tokens.rbegin()));
  }
}

TEST_CASE("what is no ChatML is refused") {
  CHECK_THAT(refusal(ChatFile("")), contains("--chat: the file has no tokenizer.chat_template"));
  CHECK_THAT(refusal(ChatFile("{{ '<|start_header_id|>' + message['role'] }}")), contains("is not ChatML"));
  CHECK_THAT(refusal(ChatFile("{{ '[INST] ' + message['content'] + ' [/INST]' }}")), contains("is not ChatML"));
  CHECK_THAT(refusal(ChatFile(smollm, "<|other|>")), contains("the vocabulary has no token <|im_end|>"));
  CHECK(refusal(ChatFile(smollm)) == "no error");
}

TEST_CASE("the system turn is found in any order of marks, tags, quotes and backslashes") {
  Random random(61);
  const std::vector<std::string> pieces = {"<|im_start|>system",
                                           "'<|im_start|>system",
                                           "\"<|im_start|>system",
                                           "<|im_end|>",
                                           "<|im_end|>",
                                           "{",
                                           "{{",
                                           "%",
                                           "{%",
                                           "'",
                                           "\"",
                                           "\\",
                                           "x"};
  int found = 0;
  for (int k = 0; k < 300; ++k) {
    std::string text;
    for (auto count = random.integer(1, 12); count > 0; --count) {
      text += pieces[static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(pieces.size()) - 1))];
    }
    text += " <|im_start|>user <|im_end|>";
    INFO(text);
    const std::string turn = system_turn_of(text);
    CHECK(rendered(text, "Hi") == turn + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    found += turn.empty() ? 0 : 1;
  }
  CHECK(found > 30);
  CHECK(found < 270);
}

TEST_CASE("a template of megabytes is read in one pass") {
  // Every beginning but the last stands before a tag, with the same end: a pass for each would take minutes.
  std::string text;
  while (text.size() < 2'000'000) text += "<|im_start|>system ";
  CHECK(rendered(text + "{{ x }}<|im_end|>" + smollm, "Hi").starts_with(smollm_system + "<|im_start|>user"));
}
