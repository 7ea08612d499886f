// Reading little-endian values from a span without ever leaving it.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "error.hpp"

namespace dca_lm {

static_assert(std::endian::native == std::endian::little, "GGUF files are read as they lie, in little-endian order");

/// A cursor over bytes. Every read is checked against what is left and throws Error "... is truncated" beyond it.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  /// The next `count` bytes.
  std::span<const std::byte> take(std::uint64_t count) {
    if (count > remaining()) {
      throw Error("the file is truncated: " + std::to_string(count) + " bytes wanted at offset " +
                  std::to_string(position_) + ", " + std::to_string(remaining()) + " left");
    }
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }

  template <class T>
  requires std::is_trivially_copyable_v<T> T read() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  /// A 64-bit count of things that take at least `least_bytes` each: one that cannot fit what is left is a lie, and is
  /// refused before anything is allocated for it.
  std::uint64_t read_count(const char* what, std::size_t least_bytes) {
    const auto count = read<std::uint64_t>();
    if (count > remaining() / least_bytes) {
      throw Error("the file is truncated or damaged: " + std::to_string(count) + " " + what + " do not fit the " +
                  std::to_string(remaining()) + " bytes left");
    }
    return count;
  }

  /// A string as GGUF writes it: 64-bit length, then bytes. The view lives as long as the bytes.
  std::string_view read_string() {
    const auto text = take(read<std::uint64_t>());
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

}  // namespace dca_lm
