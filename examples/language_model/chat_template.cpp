#include "chat_template.hpp"

#include "error.hpp"

namespace dca_lm {
namespace {

const std::string start_mark = "<|im_start|>", end_mark = "<|im_end|>";

/// The characters that a Jinja literal stands for, of those escapes that templates use.
std::string unescaped(std::string_view literal) {
  std::string text;
  for (std::size_t k = 0; k < literal.size(); ++k) {
    if (literal[k] != '\\' || k + 1 == literal.size()) {
      text += literal[k];
      continue;
    }
    const char escaped = literal[++k];
    text += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped;
  }
  return text;
}

/// Where the text read so far last had a tag's beginning or an unescaped quote: what ends a literal.
class LastClosings {
 public:
  /// Takes text[at]; places from 0 on, in turn.
  void read(std::string_view text, std::size_t at) {
    const std::size_t end = at + 1;
    if ((text[at] == '{' || text[at] == '%') && at > 0 && text[at - 1] == '{') tag_ = at;
    if (text[at] == '\'' && !escaped_) single_ = end;
    if (text[at] == '"' && !escaped_) double_ = end;
    escaped_ = text[at] == '\\' && !escaped_;
  }

  /// Whether what was read from `first` on is one literal, in those quotes or, with another character, in none.
  bool none_since(std::size_t first, char quote) const {
    const std::size_t closed = quote == '\'' ? single_ : quote == '"' ? double_ : 0;
    return tag_ <= first && closed <= first;
  }

 private:
  std::size_t tag_ = 0, single_ = 0, double_ = 0;  // position + 1; for a tag, of its first brace
  bool escaped_ = false;                           // the next character, by a backslash before it
};

/// The first `<|im_start|>system\n...<|im_end|>` of a template that is one literal: what an expression adds to would
/// close the quote, or the tag, before the end mark. Without the marks; empty where there is none. One pass: a template
/// may be long and full of beginnings without an end.
std::string default_system_turn(std::string_view text) {
  const std::string opening = start_mark + "system";
  LastClosings closings;
  std::vector<std::size_t> literals;  // where those begin that have no end mark yet
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text.substr(at).starts_with(opening)) literals.push_back(at + start_mark.size());
    if (text.substr(at).starts_with(end_mark)) {
      for (const std::size_t first : literals) {
        const std::size_t before = first - start_mark.size();
        const char quote = before > 0 ? text[before - 1] : ' ';
        if (!closings.none_since(first, quote)) continue;
        const std::string_view literal = text.substr(first, at - first);
        return quote == '\'' || quote == '"' ? unescaped(literal) : std::string(literal);
      }
      literals.clear();
    }
    closings.read(text, at);
  }
  return "";
}

Token special_token(const Tokenizer& tokenizer, const std::string& mark) {
  const std::optional<Token> token = tokenizer.find(mark);
  if (!token) throw Error("--chat: the vocabulary has no token " + mark);
  return *token;
}

}  // namespace

ChatTemplate::ChatTemplate(const GgufFile& file, const Tokenizer& tokenizer) {
  if (file.find("tokenizer.chat_template") == nullptr) {
    throw Error("--chat: the file has no tokenizer.chat_template; leave --chat out to continue the text itself");
  }
  const std::string_view text = file.string("tokenizer.chat_template");
  if (text.find(start_mark) == std::string_view::npos || text.find(end_mark) == std::string_view::npos) {
    throw Error(
        "--chat: the model's chat template is not ChatML (it has no <|im_start|> and <|im_end|>), the only family "
        "that is supported");
  }
  system_ = default_system_turn(text);
  start_ = special_token(tokenizer, start_mark);
  end_ = special_token(tokenizer, end_mark);
  if (tokenizer.start() != start_) bos_ = tokenizer.start();  // the prompt begins with <|im_start|> anyway
  if (tokenizer.bos() && text.find("bos_token") != std::string_view::npos) {
    bos_ = tokenizer.bos();
    bos_text_ = tokenizer.decode({&*bos_, 1});
  }
}

std::vector<ChatTemplate::Turn> ChatTemplate::turns(std::string_view message) const {
  std::vector<Turn> turns;
  if (!system_.empty()) turns.push_back({system_, true});
  turns.push_back({"user\n" + std::string(message), true});
  turns.push_back({"assistant\n", false});
  return turns;
}

std::string ChatTemplate::render(std::string_view message) const {
  std::string text = bos_text_;
  for (const Turn& turn : turns(message)) text += start_mark + turn.text + (turn.closed ? end_mark + "\n" : "");
  return text;
}

std::vector<Token> ChatTemplate::prompt(const Tokenizer& tokenizer, std::string_view message) const {
  std::vector<Token> tokens;
  if (bos_) tokens.push_back(*bos_);
  const auto add = [&](std::string_view text) {
    const std::vector<Token> encoded = tokenizer.encode(text);
    tokens.insert(tokens.end(), encoded.begin(), encoded.end());
  };
  for (const Turn& turn : turns(message)) {
    tokens.push_back(start_);
    add(turn.text);
    if (!turn.closed) continue;
    tokens.push_back(end_);
    add("\n");
  }
  return tokens;
}

}  // namespace dca_lm
