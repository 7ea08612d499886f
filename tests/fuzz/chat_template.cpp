// Any text as a chat template, any message in it.
#include "chat_template.hpp"

#include <algorithm>

#include "error.hpp"
#include "fuzz/small_tokenizer.hpp"

namespace dca_fuzz {
namespace {

/// Pieces of templates, and bytes.
std::string any_template(Bytes& bytes) {
  static const std::vector<std::string> pieces = {"<|im_start|>",
                                                  "<|im_end|>",
                                                  "system",
                                                  "\n",
                                                  "\\n",
                                                  "'",
                                                  "\"",
                                                  "{{",
                                                  "}}",
                                                  "{%",
                                                  "%}",
                                                  "\\",
                                                  "user",
                                                  " + ",
                                                  "<|im_start|>system\n",
                                                  "messages[0]['content']",
                                                  "{{ '<|im_start|>system\nYou are.<|im_end|>\n' }}",
                                                  "<|im_",
                                                  "\\'",
                                                  "{% for message in messages %}"};
  std::string text;
  for (auto k = bytes.integer(0, 24); k > 0; --k) {
    const auto piece = static_cast<std::size_t>(bytes.integer(0, static_cast<std::ptrdiff_t>(pieces.size())));
    text += piece < pieces.size() ? pieces[piece] : bytes.text(static_cast<std::size_t>(bytes.integer(1, 4)));
  }
  // A long one: time must not grow faster than its length.
  if (bytes.one_in(16)) {
    const std::string once = text;
    while (!once.empty() && text.size() < (std::size_t{1} << 14)) text += once;
  }
  return text;
}

void check_chat(const dca_lm::ChatTemplate& chat, const SmallTokenizer& small, const std::string& text,
                const std::string& message) {
  const std::string rendered = chat.render(message);
  const std::string end = "<|im_start|>user\n" + message + "<|im_end|>\n<|im_start|>assistant\n";
  require(rendered.size() >= end.size() && rendered.substr(rendered.size() - end.size()) == end,
          "a conversation does not end with the message");
  require(rendered == end || rendered.rfind("<|im_start|>system", 0) == 0, "a turn of nobody's");
  bool refused = false;
  std::vector<dca_lm::Token> tokens;
  try {
    tokens = chat.prompt(*small.tokenizer, message);
  } catch (const dca_lm::Error&) {
    refused = true;
  }
  if (refused) {
    require(!is_utf8(message) || !is_utf8(text), "a message is refused");
    return;
  }
  require(small.tokenizer->decode(tokens) == rendered, "the prompt's tokens are another text");
  const auto turns = std::count(tokens.begin(), tokens.end(), *small.tokenizer->find("<|im_start|>"));
  require(turns == (rendered == end ? 2 : 3), "not as many turns as there are");
  require(std::count(tokens.begin(), tokens.end(), chat.end()) == turns - 1, "a turn does not end");
}

}  // namespace
}  // namespace dca_fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dca_fuzz;
  Bytes bytes(data, size);
  const std::string text = any_template(bytes);
  const SmallTokenizer& small = small_tokenizer(bytes);
  dca_lm_test::GgufContents contents;
  contents.set("tokenizer.chat_template", dca_lm_test::value(text));
  const MemoryFile written(contents.bytes());
  const dca_lm::GgufFile file(written.path());
  const bool is_chatml = text.find("<|im_start|>") != std::string::npos && text.find("<|im_end|>") != std::string::npos;
  const std::string message = bytes.text(size);
  std::optional<dca_lm::ChatTemplate> chat;
  try {
    chat.emplace(file, *small.tokenizer);
  } catch (const dca_lm::Error&) {
    require(!is_chatml, "a template of ChatML is refused");
    return 0;
  }
  require(is_chatml, "a template without its marks is taken");
  check_chat(*chat, small, text, message);
  return 0;
}
