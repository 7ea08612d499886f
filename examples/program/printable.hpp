// Strings from files and arguments, as they may go to a terminal.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "program/utf8.hpp"

namespace program {

namespace detail {

/// Whether it is a control or direction character.
inline bool is_control(std::uint32_t code) {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  return code == 0x61c || code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0xfeff || (code >= 0xfff9 && code <= 0xfffb) ||
         (code >= 0xe0000 && code < 0xe0080);
}

inline std::string escaped(const char* format, unsigned value) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

}  // namespace detail

/// Bytes of a name that a message shows, and of a whole message.
inline constexpr std::size_t most_of_name = 200, most_of_message = 4000;

/// `text` with control characters and invalid UTF-8 escaped: bytes as \x1b, characters as \u{202e}. Characters in
/// `keep` stay. Cut after `most` input bytes, followed by the full length.
inline std::string printable(std::string_view text, std::size_t most = most_of_name, std::string_view keep = "") {
  std::string shown;
  std::size_t at = 0;
  while (at < text.size()) {
    const FirstCharacter one = first_character(text.substr(at));
    const std::size_t length = one.is_whole() ? one.length : 1;
    if (at + length > most) break;
    if (!one.is_whole() || (length == 1 && detail::is_control(one.code) && keep.find(text[at]) == keep.npos)) {
      shown += detail::escaped("\\x%02x", static_cast<unsigned char>(text[at]));
    } else if (length > 1 && detail::is_control(one.code)) {
      shown += detail::escaped("\\u{%x}", one.code);
    } else {
      shown += text.substr(at, length);
    }
    at += length;
  }
  return at == text.size() ? shown : shown + "... (" + std::to_string(text.size()) + " bytes)";
}

}  // namespace program
