// Scales and caps of logits, given in double: conversion, and checks that the scalar of the arithmetic can hold them.
#pragma once

#include <cmath>
#include <limits>
#include <numbers>

#include "dca/tensor/index.hpp"

namespace dca::detail {

/// Factors of query features, rotated and other ones, that make their products with keys logits in units of log2. The
/// attention factors of query and key are both applied here, to rotated features only.
struct LogitScales {
  double rotated;
  double plain;

  LogitScales(double softmax_scale, double attention_factor)
      : rotated(softmax_scale * attention_factor * attention_factor / std::numbers::ln2),
        plain(softmax_scale / std::numbers::ln2) {}
};

/// Whether |x| is a normal number of T.
template <class T>
bool holds(double x) {
  using Limits = std::numeric_limits<T>;
  const double size = std::abs(x);
  return size >= static_cast<double>(Limits::min()) && size <= static_cast<double>(Limits::max());
}

/// The range that `holds` allows, for messages.
template <class T>
Text held_range() {
  using Limits = std::numeric_limits<T>;
  return "must be from " + to_text(static_cast<double>(Limits::min())) + " to " +
         to_text(static_cast<double>(Limits::max())) + " in magnitude";
}

/// Throws std::invalid_argument where a factor in use is not a normal number of T. A softmax_scale of 0 is allowed: all
/// keys then have the same weight.
template <class T>
void check_logit_scales(double softmax_scale, double attention_factor, bool has_rotated, bool has_plain) {
  if (softmax_scale == 0) return;
  const LogitScales scales(softmax_scale, attention_factor);
  if ((has_plain || attention_factor == 1) && !holds<T>(scales.plain)) {
    fail("softmax_scale", to_text(softmax_scale), "must be 0, or softmax_scale times log2(e) " + held_range<T>());
  }
  if (has_rotated && !holds<T>(scales.rotated)) {
    fail("attention_factor", to_text(attention_factor) + " with softmax_scale " + to_text(softmax_scale),
         "its square times softmax_scale times log2(e) " + held_range<T>());
  }
}

/// The cap for the kernel, 0 for none. T must hold cap * log2(e) and 2 / cap as normal numbers: a larger cap counts as
/// none; a smaller one, or one that is not positive and finite, throws std::invalid_argument.
template <class T>
double checked_softcap(double cap) {
  if (!(cap > 0) || !std::isfinite(cap)) fail("logit_softcap", to_text(cap), "must be positive and finite");
  constexpr double least = static_cast<double>(std::numeric_limits<T>::min());
  if (cap * std::numbers::log2e < least) {
    fail("logit_softcap", to_text(cap), "logit_softcap times log2(e) must be at least " + to_text(least));
  }
  return holds<T>(cap * std::numbers::log2e) && holds<T>(2 / cap) ? cap : 0;
}

}  // namespace dca::detail
