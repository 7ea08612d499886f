// Rotary position embedding: frequencies, pairing, and the cosines and sines of any position.
#pragma once

#include <cstdint>
#include <utility>

#include "dca/rope/frequencies.hpp"

namespace dca {

/// Which features turn together: half: m with m + rotary_dim / 2 (Hugging Face weights); interleaved: 2m with 2m + 1
/// (GGUF Llama weights).
enum class RopePairing { half, interleaved };

/// Turns the leading rotary_dim features of queries and keys; the others pass through. Fixed once made.
///
/// Angles are position * inv_freq, in double, then cosine and sine, then narrowed: in float an angle at position 262144
/// would be off by 0.016 rad. A position is a sum of three digits to the base 64, and its cosines and sines come from
/// tables of the digits by the addition theorem, with a first-order term for the rounding of the product, so that they
/// agree with the direct computation to a few units in the last place of a double.
class RotaryEmbedding {
 public:
  /// rotary_dim is 2 * inv_freq.size(). Throws std::invalid_argument where a frequency or the attention factor is not
  /// finite, or the attention factor not positive.
  explicit RotaryEmbedding(RopeFrequencies frequencies, RopePairing pairing = RopePairing::half)
      : frequencies_(std::move(frequencies)), pairing_(pairing) {
    for (const double frequency : frequencies_.inv_freq) {
      if (!std::isfinite(frequency)) detail::fail("inv_freq", std::to_string(frequency), "must be finite");
    }
    detail::checked_positive("attention_factor", frequencies_.attention_factor);
    ones_.resize(static_cast<std::size_t>(base * turn_size()));
    tens_.resize(ones_.size());
    for (Index digit = 0; digit < base; ++digit) {
      write_turn(digit, ones_.data() + digit * turn_size());
      write_turn(digit * base, tens_.data() + digit * turn_size());
    }
  }

  Index rotary_dim() const { return 2 * pairs(); }
  double attention_factor() const { return frequencies_.attention_factor; }
  const std::vector<double>& inv_freq() const { return frequencies_.inv_freq; }
  RopePairing pairing() const { return pairing_; }

 private:
  friend class RotaryAngles;

  static constexpr Index base = 64;  // of the digits of a position; a power of two

  Index pairs() const { return static_cast<Index>(frequencies_.inv_freq.size()); }

  Index turn_size() const { return 3 * pairs(); }

  /// A turn: angles, cosines and sines of one position, three runs of a value per pair.
  void write_turn(Index position, double* turn) const {
    for (Index m = 0; m < pairs(); ++m) {
      const double angle = static_cast<double>(position) * frequencies_.inv_freq[static_cast<std::size_t>(m)];
      turn[m] = angle;
      turn[m + pairs()] = std::cos(angle);
      turn[m + 2 * pairs()] = std::sin(angle);
    }
  }

  RopeFrequencies frequencies_;
  RopePairing pairing_;
  std::vector<double> ones_, tens_;  // turns of 0, 1, 2, ... and of 0, 64, 128, ...
};

/// Cosines and sines of positions, one position at a time, in memory of the caller's: what a thread needs for itself.
/// Neighbouring positions in a row are cheap; a jump out of 4096 costs a sine and a cosine a pair.
class RotaryAngles {
 public:
  /// doubles of memory for one embedding
  static Index workspace(const RotaryEmbedding& rope) { return 2 * rope.turn_size() + rope.pairs(); }

  RotaryAngles(const RotaryEmbedding& rope, double* workspace)
      : rope_(rope),
        far_turn_(workspace),
        near_turn_(workspace + rope.turn_size()),
        angle_(workspace + 2 * rope.turn_size()) {}

  /// Writes cos and sin of position * inv_freq[m] for each pair m.
  template <class T>
  void operator()(Index position, T* cosine, T* sine) {
    constexpr Index base = RotaryEmbedding::base;
    const Index near = position & ~(base - 1), far = position & ~(base * base - 1);
    if (!known_ || far != far_) {
      far_ = far;
      rope_.write_turn(far, far_turn_);
    }
    if (!known_ || near != near_) {
      near_ = near;
      const Index pairs = rope_.pairs();
      const double* const tens = rope_.tens_.data() + (near - far) / base * rope_.turn_size();
      write_angles(near, near_turn_);
      add(near_turn_, far_turn_, tens, near_turn_ + pairs, near_turn_ + 2 * pairs);
    }
    known_ = true;
    if constexpr (sizeof(T) > sizeof(float)) write_angles(position, angle_);
    add(angle_, near_turn_, rope_.ones_.data() + (position - near) * rope_.turn_size(), cosine, sine);
  }

 private:
  /// Apart from add, through memory: a compiler that fused product and difference would leave nothing to correct.
  void write_angles(Index position, double* angle) const {
    for (Index m = 0; m < rope_.pairs(); ++m) {
      angle[m] = static_cast<double>(position) * rope_.frequencies_.inv_freq[static_cast<std::size_t>(m)];
    }
  }

  /// Cosines and sines of `angle`, which is, but for rounding, the sum of the angles of turns a and b.
  template <class T>
  void add(const double* angle, const double* __restrict a, const double* __restrict b, T* __restrict cosine,
           T* __restrict sine) const {
    const Index pairs = rope_.pairs();
    for (Index m = 0; m < pairs; ++m) {
      double c = a[m + pairs] * b[m + pairs] - a[m + 2 * pairs] * b[m + 2 * pairs];
      double s = a[m + 2 * pairs] * b[m + pairs] + a[m + pairs] * b[m + 2 * pairs];
      if constexpr (sizeof(T) > sizeof(float)) {
        // What the product's rounding adds to the angle of the whole over the sum of its two parts.
        const double rounding = (angle[m] - a[m]) - b[m];
        const double corrected = c - rounding * s;
        s += rounding * c;
        c = corrected;
      }
      cosine[m] = static_cast<T>(c);
      sine[m] = static_cast<T>(s);
    }
  }

  const RotaryEmbedding& rope_;
  double* far_turn_;   // of a multiple of 64 * 64
  double* near_turn_;  // of a multiple of 64
  double* angle_;      // of the position at hand
  Index far_ = 0, near_ = 0;
  bool known_ = false;
};

}  // namespace dca
