// The rules of UTF-8.
#pragma once

#include <cstdint>
#include <string_view>

namespace program {

/// How a text begins: with `length` bytes of a character, of which `there` are there, as far as they may follow one
/// another; 0 of 0 where no character begins.
struct FirstCharacter {
  std::size_t length = 0, there = 0;
  std::uint32_t code = 0;  // where it is whole

  bool is_whole() const { return length > 0 && there == length; }
};

/// Of `text`, which is not empty. No overlong form, surrogate or code point beyond U+10FFFF is a character.
inline FirstCharacter first_character(std::string_view text) {
  const auto byte = [&](std::size_t k) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[k])); };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return {1, 1, first};
  if (first < 0xc2 || first > 0xf4) return {};
  FirstCharacter character{first < 0xe0 ? 2u : first < 0xf0 ? 3u : 4u, 1};
  character.code = first & (0x7fu >> character.length);
  std::uint32_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  std::uint32_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  while (character.there < character.length && character.there < text.size()) {
    const std::uint32_t next = byte(character.there);
    if (next < least || next > most) break;
    character.code = character.code << 6 | (next & 0x3f);
    ++character.there;
    least = 0x80, most = 0xbf;  // only the second byte is bounded by the first
  }
  return character;
}

}  // namespace program
