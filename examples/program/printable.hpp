// Strings from files and arguments, as they may go to a terminal.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace program {

namespace detail {

/// A character of UTF-8: its bytes and its code point; 0 bytes where none begins.
struct Character {
  std::size_t length = 0;
  std::uint32_t code = 0;
};

/// The character that `text`, which is not empty, begins with: neither overlong, a surrogate nor beyond U+10FFFF.
inline Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t k) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[k])); };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return {1, first};
  if (first < 0xc2 || first > 0xf4) return {};
  const std::size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (text.size() < length) return {};
  std::uint32_t code = first & (0x7fu >> length);
  for (std::size_t k = 1; k < length; ++k) {
    if ((byte(k) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(k) & 0x3f);
  }
  const bool overlong = code < (length == 3 ? 0x800u : length == 4 ? 0x10000u : 0x80u);
  if (overlong || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {length, code};
}

/// Whether a character steers the terminal or turns the direction of writing instead of being seen.
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

/// `text` with what is no visible character written out: \x1b for a byte that is a control character or no UTF-8,
/// \u{202e} for a longer character. All of it is on one line; line breaks and tabs stay where `keep` has them. Beyond
/// `most` bytes it is cut, and says how long it was. What is printable already stays as it is.
inline std::string printable(std::string_view text, std::size_t most = most_of_name, std::string_view keep = "") {
  std::string shown;
  std::size_t at = 0;
  while (at < text.size()) {
    const detail::Character one = detail::first_character(text.substr(at, 4));
    const std::size_t length = one.length == 0 ? 1 : one.length;
    if (at + length > most) break;
    if (one.length == 0 || (length == 1 && detail::is_control(one.code) && keep.find(text[at]) == keep.npos)) {
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
