// Inverse frequencies of rotary position embeddings, and the published ways to stretch them. All in double, and the
// same bits whatever instruction set: sums of products are fused by std::fma, and not where a compiler may.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <vector>

#include "dca/tensor/index.hpp"

namespace dca {

/// What a rotary embedding turns by: feature pair m of a token at position p is rotated by p * inv_freq[m] radians.
/// attention_factor multiplies the rotated features of queries and of keys (YaRN); 1 elsewhere.
struct RopeFrequencies {
  std::vector<double> inv_freq;
  double attention_factor = 1.0;
};

namespace detail {

inline void check_rotary_dim(Index rotary_dim) {
  if (rotary_dim < 0 || rotary_dim % 2 != 0) {
    fail("rotary_dim", to_text(rotary_dim), "must be even and not negative");
  }
}

inline double checked_positive(const char* argument, double value) {
  if (!(value > 0) || !std::isfinite(value)) {
    fail(argument, to_text(value), "must be positive and finite");
  }
  return value;
}

inline double checked_factor(double factor) {
  if (!(factor >= 1) || !std::isfinite(factor)) fail("factor", to_text(factor), "must be at least 1 and finite");
  return factor;
}

inline double checked_window(Index window) {
  if (window < 1) fail("trained_window", to_text(window), "must be at least 1");
  return static_cast<double>(window);
}

/// The base that keeps the fastest pair as it is and slows the slowest one by `factor`.
inline double ntk_theta(Index rotary_dim, double theta, double factor) {
  if (rotary_dim < 4) fail("rotary_dim", to_text(rotary_dim), "must be at least 4 for NTK-aware scaling");
  const auto dim = static_cast<double>(rotary_dim);
  return theta * std::pow(factor, dim / (dim - 2));
}

}  // namespace detail

/// theta^(-2m / rotary_dim) for m in [0, rotary_dim / 2) (Su et al. 2021, arXiv:2104.09864).
/// Throws std::invalid_argument for an odd or negative rotary_dim, or a theta that is not positive.
inline RopeFrequencies plain_frequencies(Index rotary_dim, double theta) {
  detail::check_rotary_dim(rotary_dim);
  detail::checked_positive("theta", theta);
  RopeFrequencies frequencies{.inv_freq = std::vector<double>(static_cast<std::size_t>(rotary_dim / 2))};
  for (std::size_t m = 0; m < frequencies.inv_freq.size(); ++m) {
    frequencies.inv_freq[m] = 1.0 / std::pow(theta, static_cast<double>(2 * m) / static_cast<double>(rotary_dim));
  }
  return frequencies;
}

/// Linear position interpolation: every position divided by `factor` (Chen et al. 2023, arXiv:2306.15595).
/// Throws std::invalid_argument where plain_frequencies does, or where factor is not positive.
inline RopeFrequencies linear_frequencies(Index rotary_dim, double theta, double factor) {
  detail::checked_positive("factor", factor);
  RopeFrequencies frequencies = plain_frequencies(rotary_dim, theta);
  for (double& frequency : frequencies.inv_freq) frequency /= factor;
  return frequencies;
}

/// NTK-aware scaling: theta becomes theta * factor^(d / (d - 2)) with d = rotary_dim >= 4, factor >= 1.
/// Throws std::invalid_argument where an argument is out of range.
inline RopeFrequencies ntk_frequencies(Index rotary_dim, double theta, double factor) {
  detail::check_rotary_dim(rotary_dim);
  return plain_frequencies(rotary_dim, detail::ntk_theta(rotary_dim, theta, detail::checked_factor(factor)));
}

/// factor: how many times further than the trained window the model shall reach; length: the tokens to serve now.
struct DynamicNtkScaling {
  double factor = 1.0;
  Index trained_window = 0;
  Index length = 0;
};

/// Dynamic NTK scaling for an explicit length: the base of NTK with factor * length / trained_window - (factor - 1),
/// and plain RoPE up to the trained window. Frequencies are fixed here: a cache of rotated keys must not outlive them.
/// Throws std::invalid_argument where an argument is out of range.
inline RopeFrequencies dynamic_ntk_frequencies(Index rotary_dim, double theta, const DynamicNtkScaling& scaling) {
  detail::check_rotary_dim(rotary_dim);
  const double factor = detail::checked_factor(scaling.factor);
  const double window = detail::checked_window(scaling.trained_window);
  if (scaling.length < 1) detail::fail("length", detail::to_text(scaling.length), "must be at least 1");
  const double stretch = std::max(1.0, std::fma(factor, static_cast<double>(scaling.length) / window, 1 - factor));
  return plain_frequencies(rotary_dim, detail::ntk_theta(rotary_dim, theta, stretch));
}

/// factor: how many times further than the trained window. beta_fast and beta_slow: rotations over the trained window
/// above which a pair is left alone and below which it is interpolated. attention_factor: 0.1 ln(factor) + 1 unless
/// given.
struct YarnScaling {
  double factor = 1.0;
  Index trained_window = 0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  std::optional<double> attention_factor{};
};

/// YaRN (Peng et al. 2023, arXiv:2309.00071): a linear ramp over the pairs between plain and interpolated frequencies,
/// its ends rounded outwards to whole pairs as in the authors' code.
/// Throws std::invalid_argument where an argument is out of range or beta_fast < beta_slow.
inline RopeFrequencies yarn_frequencies(Index rotary_dim, double theta, const YarnScaling& scaling) {
  const double factor = detail::checked_factor(scaling.factor);
  const double window = detail::checked_window(scaling.trained_window);
  detail::checked_positive("beta_slow", scaling.beta_slow);
  if (!(scaling.beta_fast >= scaling.beta_slow)) {
    detail::fail("beta_fast", detail::to_text(scaling.beta_fast), "must be at least beta_slow");
  }
  if (!(theta > 1)) detail::fail("theta", detail::to_text(theta), "must be greater than 1 for YaRN");
  RopeFrequencies frequencies = plain_frequencies(rotary_dim, theta);
  // The (fractional) pair that turns `rotations` times over the trained window.
  const auto pair_of = [&](double rotations) {
    return static_cast<double>(rotary_dim) * std::log(window / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  const double low = std::max(std::floor(pair_of(scaling.beta_fast)), 0.0);
  double high = std::min(std::ceil(pair_of(scaling.beta_slow)), static_cast<double>(rotary_dim - 1));
  if (low == high) high += 0.001;  // as the authors do: no division by zero
  for (std::size_t m = 0; m < frequencies.inv_freq.size(); ++m) {
    const double ramp = std::clamp((static_cast<double>(m) - low) / (high - low), 0.0, 1.0);
    double& frequency = frequencies.inv_freq[m];
    frequency = std::fma(frequency / factor, ramp, frequency * (1 - ramp));
  }
  frequencies.attention_factor = scaling.attention_factor
                                     ? detail::checked_positive("attention_factor", *scaling.attention_factor)
                                     : std::fma(0.1, std::log(factor), 1.0);
  return frequencies;
}

/// factor: how far the slowest pairs are interpolated; low_freq_factor and high_freq_factor: turns over the trained
/// window below which a pair is interpolated and above which it is left alone.
struct Llama3Scaling {
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  Index trained_window = 0;
};

/// The scaling of Llama 3.1 (`rope_type: llama3`): interpolation below, none above, a smooth passage between.
/// Throws std::invalid_argument where an argument is out of range or high_freq_factor <= low_freq_factor.
inline RopeFrequencies llama3_frequencies(Index rotary_dim, double theta, const Llama3Scaling& scaling) {
  const double factor = detail::checked_factor(scaling.factor);
  const double window = detail::checked_window(scaling.trained_window);
  detail::checked_positive("low_freq_factor", scaling.low_freq_factor);
  if (!(scaling.high_freq_factor > scaling.low_freq_factor)) {
    detail::fail("high_freq_factor", detail::to_text(scaling.high_freq_factor), "must be greater than low_freq_factor");
  }
  RopeFrequencies frequencies = plain_frequencies(rotary_dim, theta);
  for (double& frequency : frequencies.inv_freq) {
    const double turns = window * frequency / (2 * std::numbers::pi);
    const double kept =
        std::clamp((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0, 1.0);
    frequency = std::fma(kept, frequency, (1 - kept) * frequency / factor);
  }
  return frequencies;
}

}  // namespace dca
