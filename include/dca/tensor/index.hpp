// Integers and errors that every other header needs.
#pragma once

#include <cstddef>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>

namespace dca {

/// Signed index of tokens, heads, features and bytes; the same type as Eigen's default index.
using Index = std::ptrdiff_t;

namespace detail {

/// Throws std::invalid_argument "dca: <argument>: <given>; <allowed>".
[[noreturn]] inline void fail(const std::string& argument, const std::string& given, const std::string& allowed) {
  throw std::invalid_argument("dca: " + argument + ": " + given + "; " + allowed);
}

/// A number for messages: std::to_string prints 1e-40 as 0.
inline std::string to_text(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return text;
}

/// Product of two non-negative sizes; throws std::invalid_argument naming `argument` where it does not fit an Index.
inline Index checked_product(const char* argument, Index a, Index b) {
  if (b != 0 && a > std::numeric_limits<Index>::max() / b) {
    fail(argument, std::to_string(a) + " x " + std::to_string(b) + " overflows",
         "sizes must fit a signed 64-bit index");
  }
  return a * b;
}

/// Likewise their sum.
inline Index checked_sum(const char* argument, Index a, Index b) {
  if (a > std::numeric_limits<Index>::max() - b) {
    fail(argument, std::to_string(a) + " + " + std::to_string(b) + " overflows",
         "sizes must fit a signed 64-bit index");
  }
  return a + b;
}

/// a / b rounded up, for a >= 0 and b > 0.
constexpr Index ceil_div(Index a, Index b) { return a / b + (a % b != 0 ? 1 : 0); }

constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

}  // namespace detail
}  // namespace dca
