// Integers and errors that every other header needs.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>

namespace dca {

/// Signed index of tokens, heads, features and bytes; the same type as Eigen's default index.
using Index = std::ptrdiff_t;

namespace detail {

/// The text of an error message, cut off where it is too long. It owns no memory: code that fails compiles fast.
class Text {
 public:
  [[gnu::noinline]] Text(const char* text) {
    for (; *text != 0 && size_ + 1 < static_cast<int>(sizeof(text_)); ++text) text_[size_++] = *text;
    text_[size_] = 0;
  }
  const char* c_str() const { return text_; }

  [[gnu::noinline]] friend Text operator+(Text a, const Text& b) {
    for (int k = 0; k < b.size_ && a.size_ + 1 < static_cast<int>(sizeof(a.text_)); ++k)
      a.text_[a.size_++] = b.text_[k];
    a.text_[a.size_] = 0;
    return a;
  }

 private:
  char text_[240];
  int size_ = 0;
};

/// A number for messages; 1e-40 is not 0.
[[gnu::noinline]] inline Text to_text(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return text;
}

[[gnu::noinline]] inline Text integer_text(long long x) {
  char text[32];
  std::snprintf(text, sizeof text, "%lld", x);
  return text;
}

template <std::integral I>
Text to_text(I x) {
  return integer_text(static_cast<long long>(x));
}

/// Throws std::invalid_argument "dca: <argument>: <given>; <allowed>".
[[noreturn, gnu::noinline]] inline void fail(const Text& argument, const Text& given, const Text& allowed) {
  throw std::invalid_argument(std::string("dca: ") + argument.c_str() + ": " + given.c_str() + "; " + allowed.c_str());
}

/// Product of two non-negative sizes; throws std::invalid_argument naming `argument` where it does not fit an Index.
inline Index checked_product(const char* argument, Index a, Index b) {
  if (b != 0 && a > std::numeric_limits<Index>::max() / b) {
    fail(argument, to_text(a) + " x " + to_text(b) + " overflows", "sizes must fit a signed 64-bit index");
  }
  return a * b;
}

/// Likewise their sum.
inline Index checked_sum(const char* argument, Index a, Index b) {
  if (a > std::numeric_limits<Index>::max() - b) {
    fail(argument, to_text(a) + " + " + to_text(b) + " overflows", "sizes must fit a signed 64-bit index");
  }
  return a + b;
}

/// a / b rounded up, for a >= 0 and b > 0.
constexpr Index ceil_div(Index a, Index b) { return a / b + (a % b != 0 ? 1 : 0); }

constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

}  // namespace detail
}  // namespace dca
