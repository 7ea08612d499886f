// Small tokenizers, through files.
#pragma once

#include <algorithm>
#include <map>
#include <memory>

#include "fuzz/memory_file.hpp"
#include "language_model/bpe_definition.hpp"
#include "language_model/tiny_model.hpp"
#include "support/random.hpp"
#include "tokenizer.hpp"

namespace dca_fuzz {

using dca_lm_test::Merges;

/// All bytes, the marks of chats, and one of a few sets of merges of the letters a, b and c, a space and a digit.
struct SmallTokenizer {
  std::vector<std::string> tokens;  // as they are written in the vocabulary
  Merges merges{};
  std::unique_ptr<dca_lm::Tokenizer> tokenizer{};

  SmallTokenizer(std::uint64_t set, const char* pre) : tokens(dca_lm_test::printable_bytes()) {
    tokens.insert(tokens.end(), {"<|im_start|>", "<|im_end|>"});
    dca_test::Random random(set);
    std::vector<std::string> parts{"a", "b", "c", "\xc4\xa0", "1"};  // the fourth is a space
    for (std::uint64_t k = 0; k < set; ++k) {
      const auto any = [&] {
        return parts[static_cast<std::size_t>(random.integer(0, static_cast<std::ptrdiff_t>(parts.size()) - 1))];
      };
      const std::string left = any(), right = any();
      if (std::find(parts.begin(), parts.end(), left + right) != parts.end()) continue;
      merges.emplace_back(left, right);
      parts.push_back(left + right);
    }
    dca_lm_test::GgufContents contents;
    dca_lm_test::set_tokenizer(contents, tokens, merges, pre);
    for (const auto& [left, right] : merges) tokens.push_back(left + right);
    const MemoryFile written(contents.bytes());
    tokenizer = std::make_unique<dca_lm::Tokenizer>(dca_lm::GgufFile(written.path()));
  }
};

/// One of them, made at its first use.
inline const SmallTokenizer& small_tokenizer(Bytes& bytes) {
  constexpr std::ptrdiff_t sets = 12;
  static std::map<std::ptrdiff_t, SmallTokenizer> known;
  const std::ptrdiff_t number = bytes.integer(0, 2 * sets - 1);
  return known.try_emplace(number, static_cast<std::uint64_t>(number / 2), number % 2 == 0 ? "smollm" : "gpt-2")
      .first->second;
}

/// Whether a text is UTF-8, by the table of the Unicode standard.
inline bool is_utf8(std::string_view text) {
  const auto byte = [&](std::size_t k) {
    return k < text.size() ? static_cast<unsigned char>(text[k]) : static_cast<unsigned char>(0);
  };
  for (std::size_t k = 0; k < text.size();) {
    const unsigned first = byte(k);
    std::size_t more = 0;
    unsigned low = 0x80, high = 0xbf;
    if (first >= 0x80) {
      if (first < 0xc2 || first > 0xf4) return false;
      more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
      if (first == 0xe0) low = 0xa0;
      if (first == 0xed) high = 0x9f;
      if (first == 0xf0) low = 0x90;
      if (first == 0xf4) high = 0x8f;
    }
    for (std::size_t m = 1; m <= more; ++m) {
      if (byte(k + m) < low || byte(k + m) > high) return false;
      low = 0x80;
      high = 0xbf;
    }
    k += 1 + more;
  }
  return true;
}

}  // namespace dca_fuzz
