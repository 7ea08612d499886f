// Bytes that come in pieces, as whole UTF-8 characters.
#pragma once

#include <string>
#include <string_view>

#include "program/utf8.hpp"

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
      const program::FirstCharacter next = program::first_character(std::string_view(pending_).substr(at));
      if (next.is_whole()) {
        text.append(pending_, at, next.length);
      } else if (next.there > 0 && at + next.there == pending_.size()) {
        break;  // the rest may come
      } else {
        text += replacement;
      }
      at += next.there > 0 ? next.there : 1;
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

  std::string pending_;
};

}  // namespace dca_lm
