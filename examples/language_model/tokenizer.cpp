#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer.hpp"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <functional>
#include <queue>
#include <utility>

#include "error.hpp"
#include "messages.hpp"

namespace dca_lm {
namespace {

constexpr Token no_token = -1;
constexpr const char* digit_pattern = R"(\p{N})";

/// White space as Unicode defines it, for a class. PCRE2's \s has U+180E as well, which is none since Unicode 6.3.
const std::string white_space =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

/// GPT-2's, which writes \s and \S for the classes.
std::string gpt2_pattern() {
  const std::string spaces = "[" + white_space + "]+", not_space = "[^" + white_space + "]";
  return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^)" + white_space + R"(\p{L}\p{N}]+|)" + spaces + "(?!" +
         not_space + ")|" + spaces;
}

/// GPT-2 writes a byte as a printable character: itself where it is one in Latin-1, else one from U+0100 on.
std::array<std::string, 256> printable_bytes() {
  std::array<std::string, 256> written;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const unsigned code = printable ? byte : next++;
    if (code < 0x80) {
      written[byte] = {static_cast<char>(code)};
    } else {
      written[byte] = {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
    }
  }
  return written;
}

std::uint64_t pair_key(Token left, Token right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

/// A regular expression that cuts text into its matches and what lies between them.
class Tokenizer::Pattern {
 public:
  explicit Pattern(const std::string& expression) {
    int error = 0;
    PCRE2_SIZE at = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(), PCRE2_UTF | PCRE2_UCP,
                              &error, &at, nullptr));
    if (!code_) throw Error("PCRE2 refuses " + expression);
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT, matching works without
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    if (!match_) throw std::bad_alloc();
  }

  /// Calls piece(part of text) for all parts, in order. `unchecked`: offset of `text` in the user's input if its UTF-8
  /// is still to be checked.
  template <class F>
  void cut(std::string_view text, std::optional<std::size_t> unchecked, F&& piece) const {
    std::size_t from = 0;
    std::uint32_t options = unchecked ? 0 : PCRE2_NO_UTF_CHECK;
    while (from < text.size()) {
      const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, options,
                                    match_.get(), nullptr);
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found <= PCRE2_ERROR_UTF8_ERR1 && found >= PCRE2_ERROR_UTF8_ERR21) {
        const std::size_t at = unchecked.value_or(0) + pcre2_get_startchar(match_.get());
        throw Error("text: not UTF-8 at byte " + std::to_string(at));
      }
      if (found < 0) throw Error("text: PCRE2 gave up with error " + std::to_string(found));
      options = PCRE2_NO_UTF_CHECK;  // the whole of it has been checked
      const PCRE2_SIZE* const range = pcre2_get_ovector_pointer(match_.get());
      if (range[0] > from) piece(text.substr(from, range[0] - from));
      piece(text.substr(range[0], range[1] - range[0]));
      from = range[1];
    }
    if (from < text.size()) piece(text.substr(from));
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

Tokenizer::Tokenizer(const GgufFile& file) {
  const std::string_view model = file.string("tokenizer.ggml.model");
  if (model != "gpt2") throw Error("tokenizer model " + printable(model) + "; only gpt2 (byte-level BPE) is supported");
  const std::string_view pre = file.find("tokenizer.ggml.pre") != nullptr ? file.string("tokenizer.ggml.pre") : "gpt-2";
  if (pre != "smollm" && pre != "gpt-2") {
    throw Error("pre-tokenizer " + printable(pre) + "; smollm and gpt-2 are supported");
  }
  if (pre == "smollm") patterns_.push_back(std::make_unique<Pattern>(digit_pattern));
  patterns_.push_back(std::make_unique<Pattern>(gpt2_pattern()));
  const std::vector<std::string_view> tokens = file.strings("tokenizer.ggml.tokens");
  read_vocabulary(tokens);
  const std::string_view types = "tokenizer.ggml.token_type";
  if (file.find(types) != nullptr) read_types(tokens, file.integers(types));
  std::vector<std::string_view> literals;
  for (const Token token : user_defined_) literals.push_back(tokens[static_cast<std::size_t>(token)]);
  literals_.emplace(literals);
  read_start(file);
  read_ends(file);
  read_merges(file.strings("tokenizer.ggml.merges"));
}

Tokenizer::~Tokenizer() = default;

void Tokenizer::read_vocabulary(const std::vector<std::string_view>& tokens) {
  const std::array<std::string, 256> written = printable_bytes();
  std::unordered_map<std::string_view, char> byte_of;
  for (std::size_t byte = 0; byte < 256; ++byte) byte_of[written[byte]] = static_cast<char>(byte);
  for (const std::string_view token : tokens) {
    vocabulary_.emplace(token, static_cast<Token>(bytes_of_.size()));
    std::string bytes;
    for (std::size_t at = 0; at < token.size();) {
      const std::size_t length = (static_cast<unsigned char>(token[at]) & 0xe0) == 0xc0 ? 2 : 1;
      const auto known = byte_of.find(token.substr(at, length));
      // Special tokens need not be written in this alphabet: they stand for themselves.
      if (known == byte_of.end()) {
        bytes = token;
        break;
      }
      bytes += known->second;
      at += length;
    }
    bytes_of_.push_back(bytes);
  }
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto found = vocabulary_.find(written[byte]);
    byte_tokens_.push_back(found == vocabulary_.end() ? no_token : found->second);
  }
}

void Tokenizer::read_types(const std::vector<std::string_view>& tokens, const std::vector<std::int64_t>& types) {
  constexpr std::int64_t control = 3, user_defined = 4;
  if (types.size() != tokens.size()) {
    throw Error("tokenizer.ggml.token_type: " + std::to_string(types.size()) + " types; must be one for each of " +
                std::to_string(tokens.size()) + " tokens");
  }
  for (std::size_t token = 0; token < tokens.size(); ++token) {
    if (types[token] == control || types[token] == user_defined) bytes_of_[token] = tokens[token];
    if (types[token] == user_defined && !tokens[token].empty()) user_defined_.push_back(static_cast<Token>(token));
  }
  const auto written = [&](Token token) { return tokens[static_cast<std::size_t>(token)]; };
  std::stable_sort(user_defined_.begin(), user_defined_.end(),
                   [&](Token a, Token b) { return written(a).size() > written(b).size(); });
}

void Tokenizer::read_start(const GgufFile& file) {
  const char *const add = "tokenizer.ggml.add_bos_token", *const id = "tokenizer.ggml.bos_token_id";
  starts_with_bos_ = file.find(add) != nullptr && file.boolean(add);
  if (starts_with_bos_ && file.find(id) == nullptr) {
    throw Error(std::string(add) + ": true; must be false where there is no " + id);
  }
  bos_ = token_of(file, id);
  // Without add_bos_token, files may hold any id, such as -1.
  if (starts_with_bos_ && !bos_) file.integer(id, 0, std::max<std::uint64_t>(size(), 1) - 1);
}

void Tokenizer::read_ends(const GgufFile& file) {
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    if (const std::optional<Token> token = token_of(file, key)) ends_.push_back(*token);
  }
  const std::string_view several = "tokenizer.ggml.eos_token_ids";
  if (file.find(several) == nullptr) return;
  for (const std::int64_t token : file.integers(several)) {
    if (token >= 0 && std::cmp_less(token, size())) ends_.push_back(static_cast<Token>(token));
  }
}

std::optional<Token> Tokenizer::token_of(const GgufFile& file, std::string_view key) const {
  const GgufValue* const value = file.find(key);
  const std::optional<std::uint64_t> token = value != nullptr ? natural_number(*value) : std::nullopt;
  if (!token || *token >= size()) return std::nullopt;
  return static_cast<Token>(*token);
}

void Tokenizer::read_merges(const std::vector<std::string_view>& merges) {
  std::uint32_t rank = 0;
  for (const std::string_view merge : merges) {
    const std::size_t space = merge.find(' ');
    const auto token = [&](const std::string& text) {
      const auto found = vocabulary_.find(text);
      if (space == std::string_view::npos || found == vocabulary_.end()) {
        throw Error("tokenizer: merge " + std::to_string(rank) + " (" + printable(merge) +
                    ") is not of two known tokens into one");
      }
      return found->second;
    };
    const std::string left(merge.substr(0, space)),
        right(space == std::string_view::npos ? "" : merge.substr(space + 1));
    merges_.emplace(pair_key(token(left), token(right)), Merge{rank, token(left + right)});
    ++rank;
  }
}

void Tokenizer::encode_word(std::string_view word, std::vector<Token>& out) const {
  // A list of parts, and a queue of the merges that its neighbours allow: the lowest rank first, then the leftmost.
  struct Part {
    Token token;
    std::ptrdiff_t before, after;
  };
  struct Candidate {
    std::uint32_t rank;
    std::ptrdiff_t left;
    Token left_token, right_token, merged;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  const auto size = static_cast<std::ptrdiff_t>(word.size());
  std::vector<Part> parts;
  for (std::ptrdiff_t k = 0; k < size; ++k) {
    const auto byte = static_cast<unsigned char>(word[static_cast<std::size_t>(k)]);
    if (byte_tokens_[byte] == no_token) {
      throw Error("text: the vocabulary has no token for byte " + std::to_string(byte) + " (in \"" + printable(word) +
                  "\")");
    }
    parts.push_back({byte_tokens_[byte], k - 1, k + 1 < size ? k + 1 : -1});
  }
  const auto part = [&](std::ptrdiff_t k) -> Part& { return parts[static_cast<std::size_t>(k)]; };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](std::ptrdiff_t left) {
    if (left < 0 || part(left).after < 0) return;
    const Token a = part(left).token, b = part(part(left).after).token;
    const auto merge = merges_.find(pair_key(a, b));
    if (merge != merges_.end()) queue.push({merge->second.rank, left, a, b, merge->second.merged});
  };
  for (std::ptrdiff_t k = 0; k < size; ++k) consider(k);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    const std::ptrdiff_t right = part(best.left).after;
    if (right < 0 || part(best.left).token != best.left_token || part(right).token != best.right_token) continue;
    part(best.left).token = best.merged;
    part(best.left).after = part(right).after;
    if (part(right).after >= 0) part(part(right).after).before = best.left;
    part(right).token = no_token;
    consider(part(best.left).before);
    consider(best.left);
  }
  for (std::ptrdiff_t k = 0; k >= 0 && k < size; k = part(k).after) out.push_back(part(k).token);
}

std::vector<Tokenizer::Fragment> Tokenizer::fragments(std::string_view text) const {
  std::vector<Fragment> fragments;
  std::size_t from = 0;
  for (const auto& [first, literal] : literals_->places(text)) {
    if (first > from) fragments.push_back({from, first, no_token});
    from = first + literals_->length(literal);
    fragments.push_back({first, from, user_defined_[literal]});
  }
  if (from < text.size()) fragments.push_back({from, text.size(), no_token});
  return fragments;
}

std::vector<Token> Tokenizer::encode(std::string_view text) const {
  std::vector<Token> out;
  std::unordered_map<std::string_view, std::vector<Token>> known;
  const auto word = [&](std::string_view piece) {
    const auto [found, fresh] = known.try_emplace(piece);
    if (fresh) encode_word(piece, found->second);
    out.insert(out.end(), found->second.begin(), found->second.end());
  };
  for (const auto& [first, last, token] : fragments(text)) {
    if (token != no_token) {
      out.push_back(token);
      continue;
    }
    const std::string_view words = text.substr(first, last - first);
    if (patterns_.size() == 1) {
      patterns_[0]->cut(words, first, word);
    } else {
      patterns_[0]->cut(words, first, [&](std::string_view piece) { patterns_[1]->cut(piece, std::nullopt, word); });
    }
  }
  return out;
}

std::vector<Token> Tokenizer::encode_text(std::string_view text) const {
  std::vector<Token> tokens = encode(text);
  if (start()) tokens.insert(tokens.begin(), *start());
  return tokens;
}

std::optional<Token> Tokenizer::find(const std::string& written) const {
  const auto found = vocabulary_.find(written);
  if (found == vocabulary_.end()) return std::nullopt;
  return found->second;
}

std::string Tokenizer::decode(std::span<const Token> tokens) const {
  std::string text;
  for (const Token token : tokens) {
    if (token < 0 || static_cast<std::size_t>(token) >= bytes_of_.size()) {
      throw Error("token " + std::to_string(token) + "; must be in [0, " + std::to_string(bytes_of_.size()) + ")");
    }
    text += bytes_of_[static_cast<std::size_t>(token)];
  }
  return text;
}

}  // namespace dca_lm
