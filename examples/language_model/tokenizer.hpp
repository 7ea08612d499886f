// Byte-level BPE, from the vocabulary and merges in a GGUF file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gguf.hpp"
#include "literal_finder.hpp"

namespace dca_lm {

using Token = std::int32_t;

/// Text to tokens and back, as Hugging Face's tokenizers do for GPT-2 style vocabularies: the text is cut into words by
/// regular expressions (PCRE2, Unicode properties), a word's bytes are merged pair by pair, the lowest rank first.
///
/// Supported pre-tokenizers: "smollm" (every digit alone, then GPT-2's pattern) and "gpt-2". The only special tokens
/// looked for in text are those that the file marks user-defined. A token id of the file that is not one of its
/// vocabulary, such as -1, counts as missing.
class Tokenizer {
 public:
  /// Throws Error for another tokenizer model or pre-tokenizer, a merge of unknown tokens, or add_bos_token without
  /// bos_token_id.
  explicit Tokenizer(const GgufFile& file);
  ~Tokenizer();

  /// Throws Error naming the first byte that is not UTF-8, or a byte for which the vocabulary has no token (some
  /// control characters).
  std::vector<Token> encode(std::string_view text) const;

  /// The same for a text that is read from its beginning: start() before it, where there is one.
  std::vector<Token> encode_text(std::string_view text) const;

  /// The token that begins a text. None where the file has none.
  std::optional<Token> bos() const { return bos_; }

  /// The same where the file wants it before every text, otherwise none.
  std::optional<Token> start() const { return starts_with_bos_ ? bos_ : std::nullopt; }

  /// The tokens that end any text: end of text, turn and message, as far as the file names them.
  const std::vector<Token>& ends() const { return ends_; }

  /// The bytes of the tokens one after the other; may cut a UTF-8 character. Throws Error for a token out of range.
  std::string decode(std::span<const Token> tokens) const;

  /// The token that the vocabulary writes as `written`: for special ones, which `encode` never gives. None where there
  /// is none.
  std::optional<Token> find(const std::string& written) const;

  std::size_t size() const { return bytes_of_.size(); }

 private:
  class Pattern;
  struct Merge {
    std::uint32_t rank;
    Token merged;
  };

  struct Fragment {
    std::size_t first, last;  // of the text
    Token token;              // that it is, or -1: words
  };

  void read_vocabulary(const std::vector<std::string_view>& tokens);
  void read_types(const std::vector<std::string_view>& tokens, const std::vector<std::int64_t>& types);
  void read_start(const GgufFile& file);
  void read_ends(const GgufFile& file);
  std::optional<Token> token_of(const GgufFile& file, std::string_view key) const;
  void read_merges(const std::vector<std::string_view>& merges);
  std::vector<Fragment> fragments(std::string_view text) const;
  void encode_word(std::string_view word, std::vector<Token>& out) const;

  std::vector<std::string> bytes_of_;  // by token
  std::vector<Token> byte_tokens_;     // by byte, -1 where there is none
  std::vector<Token> user_defined_;    // the longest first, as their literals
  std::optional<LiteralFinder> literals_;
  std::unordered_map<std::uint64_t, Merge> merges_;    // by pair of tokens
  std::unordered_map<std::string, Token> vocabulary_;  // by bytes as they are written in the file
  std::vector<std::unique_ptr<Pattern>> patterns_;     // each cuts what the one before left
  std::vector<Token> ends_;
  std::optional<Token> bos_;
  bool starts_with_bos_ = false;
};

}  // namespace dca_lm
