// Scales and caps of logits, which come in double, and what the scalar of the arithmetic can hold of them.
#pragma once

#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "dca/tensor/index.hpp"

namespace dca::detail {

/// What features of queries are multiplied by, so that their products with keys are logits in units of log2: the
/// rotated ones and the others. The attention factor of queries and keys stands here alone, and only on rotated
/// features.
struct LogitScales {
  double rotated;
  double plain;

  LogitScales(double softmax_scale, double attention_factor)
      : rotated(softmax_scale * attention_factor * attention_factor / std::numbers::ln2),
        plain(softmax_scale / std::numbers::ln2) {}
};

/// Whether T has room for x and for its relative precision: neither infinite nor smaller than normal numbers.
template <class T>
bool holds(double x) {
  using Limits = std::numeric_limits<T>;
  const double size = std::abs(x);
  return size >= static_cast<double>(Limits::min()) && size <= static_cast<double>(Limits::max());
}

/// What `holds` allows, in words.
template <class T>
std::string held_range() {
  using Limits = std::numeric_limits<T>;
  return "must be from " + to_text(static_cast<double>(Limits::min())) + " to " +
         to_text(static_cast<double>(Limits::max())) + " in size";
}

/// Throws std::invalid_argument where T does not hold a scale that features are multiplied by. A softmax_scale of 0 is
/// one: all keys weigh the same.
template <class T>
void check_logit_scales(double softmax_scale, double attention_factor, bool has_rotated, bool has_plain) {
  if (softmax_scale == 0) return;
  const LogitScales scales(softmax_scale, attention_factor);
  if ((has_plain || attention_factor == 1) && !holds<T>(scales.plain)) {
    fail("softmax_scale", to_text(softmax_scale), "times log2(e) it " + held_range<T>() + ", or 0");
  }
  if (has_rotated && !holds<T>(scales.rotated)) {
    fail("attention_factor", to_text(attention_factor) + " with softmax_scale " + to_text(softmax_scale),
         "its square times softmax_scale times log2(e) " + held_range<T>());
  }
}

/// The cap that the kernel takes, one that T holds in units of log2 and of which it holds 2 / cap, or 0 for none: a
/// larger one counts as none. A smaller one throws std::invalid_argument, as does what is not positive and finite.
template <class T>
double checked_softcap(double cap) {
  if (!(cap > 0) || !std::isfinite(cap)) fail("logit_softcap", to_text(cap), "must be positive and finite");
  constexpr double least = static_cast<double>(std::numeric_limits<T>::min());
  if (cap * std::numbers::log2e < least) {
    fail("logit_softcap", to_text(cap), "times log2(e) it must be at least " + to_text(least));
  }
  return holds<T>(cap * std::numbers::log2e) && holds<T>(2 / cap) ? cap : 0;
}

}  // namespace dca::detail
