// Numbers from the bytes of an input: what turns any bytes into a deep case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace dca_fuzz {

/// Reads an input from front to back. Beyond its end all numbers are the least that is allowed, so that every prefix of
/// an input is one itself.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  bool empty() const { return left_ == 0; }

  /// A number in [low, high], from as few bytes as hold the span.
  std::ptrdiff_t integer(std::ptrdiff_t low, std::ptrdiff_t high) {
    const std::uint64_t span = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
    std::uint64_t value = 0;
    for (std::uint64_t rest = span; rest != 0; rest >>= 8) value = value << 8 | byte();
    if (span != ~std::uint64_t{0}) value %= span + 1;
    return static_cast<std::ptrdiff_t>(static_cast<std::uint64_t>(low) + value);
  }

  /// True once in `often` times.
  bool one_in(int often) { return integer(0, 255) % often == often - 1; }

  template <class T>
  T pick(std::initializer_list<T> choices) {
    return choices.begin()[integer(0, static_cast<std::ptrdiff_t>(choices.size()) - 1)];
  }

  /// Eight bytes, whatever they are.
  std::uint64_t word() {
    std::uint64_t value = 0;
    for (int k = 0; k < 8; ++k) value = value << 8 | byte();
    return value;
  }

  /// Up to `most` of the bytes that are left.
  std::string text(std::size_t most) {
    const std::size_t count = most < left_ ? most : left_;
    std::string taken(reinterpret_cast<const char*>(data_), count);
    data_ += count;
    left_ -= count;
    return taken;
  }

 private:
  std::uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }

  const std::uint8_t* data_;
  std::size_t left_;
};

}  // namespace dca_fuzz
