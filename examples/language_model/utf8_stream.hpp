// Bytes that come in pieces, as whole UTF-8 characters.
#pragma once

#include <string>
#include <string_view>

namespace dca_lm {

/// Tokens may end within a character. Bytes go in as they come; out come whole characters, and U+FFFD for bytes that
/// are none (one for each longest beginning of a character, as Unicode recommends).
class Utf8Stream {
 public:
  /// The characters that are complete now.
  std::string push(std::string_view bytes) {
    pending_ += bytes;
    std::string text;
    std::size_t at = 0;
    while (at < pending_.size()) {
      const std::size_t length = length_of(pending_[at]);
      std::size_t right = length == 0 ? 0 : 1;
      while (right > 0 && right < length && at + right < pending_.size() && continues(at, right)) ++right;
      if (right == length && length > 0) {
        text.append(pending_, at, length);
      } else if (right > 0 && at + right == pending_.size()) {
        break;  // the rest may come
      } else {
        text += replacement;
      }
      at += right > 0 ? right : 1;
    }
    pending_.erase(0, at);
    return text;
  }

  /// What is left at the end: nothing, or one replacement for a character cut short.
  std::string finish() {
    const bool cut = !pending_.empty();
    pending_.clear();
    return cut ? replacement : "";
  }

 private:
  static constexpr const char* replacement = "\xef\xbf\xbd";

  /// Of the character that begins with this byte; 0 where none does.
  static std::size_t length_of(char byte) {
    const auto first = static_cast<unsigned char>(byte);
    if (first < 0x80) return 1;
    if (first < 0xc2 || first > 0xf4) return 0;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  }

  /// Whether byte `k` of the character at `at` may stand there: neither overlong forms, surrogates nor beyond U+10FFFF.
  bool continues(std::size_t at, std::size_t k) const {
    const auto first = static_cast<unsigned char>(pending_[at]), byte = static_cast<unsigned char>(pending_[at + k]);
    unsigned low = 0x80, high = 0xbf;
    if (k == 1 && first == 0xe0) low = 0xa0;
    if (k == 1 && first == 0xf0) low = 0x90;
    if (k == 1 && first == 0xed) high = 0x9f;
    if (k == 1 && first == 0xf4) high = 0x8f;
    return byte >= low && byte <= high;
  }

  std::string pending_;
};

}  // namespace dca_lm
