// The prompt of a chat model.
#pragma once

#include <string>

#include "tokenizer.hpp"

namespace dca_lm {

/// The chat template of a file, where it is of the ChatML family:
///
///     <|im_start|>system\n...<|im_end|>\n<|im_start|>user\n...<|im_end|>\n<|im_start|>assistant\n
///
/// The system's turn is there where the template, a Jinja program, adds one of its own to conversations that have none:
/// that is, where it contains the whole of it as one literal. The token that begins a text comes first, once, where the
/// template writes it (bos_token) or the file has it before every text.
class ChatTemplate {
 public:
  /// Throws Error where the file has no tokenizer.chat_template, it is of another family, or the vocabulary has no
  /// token for <|im_start|> or <|im_end|>.
  ChatTemplate(const GgufFile& file, const Tokenizer& tokenizer);

  /// The conversation of one message of the user's, up to where the answer begins, as the template renders it.
  std::string render(std::string_view message) const;

  /// The tokens of the same. Only the template's own marks become special tokens: what looks like one in the message is
  /// text.
  std::vector<Token> prompt(const Tokenizer& tokenizer, std::string_view message) const;

  /// The token that ends an answer.
  Token end() const { return end_; }

 private:
  struct Turn {
    std::string text;  // after <|im_start|>
    bool closed;       // by <|im_end|> and a line break
  };
  std::vector<Turn> turns(std::string_view message) const;

  std::string system_;  // empty where there is no such turn
  Token start_, end_;
  std::string bos_text_;  // where the template writes it
  std::optional<Token> bos_;
};

}  // namespace dca_lm
