// Rotary position embedding: frequencies, pairing, and the cosines and sines of any position.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "dca/rope/frequencies.hpp"
#include "dca/rope/turns.hpp"

namespace dca {

/// Turns the leading rotary_dim features of queries and keys; the others pass through. Fixed once made.
///
/// Angles are position * inv_freq, in double, then cosine and sine, then narrowed: in float an angle at position 262144
/// would be off by 0.016 rad. The last three digits of a position, to the base 16, have tables small enough to stay in
/// the cache; its cosines and sines come from them by the addition theorem, with a first-order term for the rounding of
/// the product, so that they agree with the direct computation to a few units in the last place of a double.
class RotaryEmbedding {
 public:
  /// rotary_dim is 2 * inv_freq.size(). Throws std::invalid_argument where a frequency, or its product with some
  /// position, is not finite, or the attention factor is not positive and finite.
  explicit RotaryEmbedding(RopeFrequencies frequencies, RopePairing pairing = RopePairing::half)
      : frequencies_(std::move(frequencies)), pairing_(pairing) {
    constexpr double farthest = 0x1p63;  // no position is larger in magnitude
    for (const double frequency : frequencies_.inv_freq) {
      if (!std::isfinite(frequency * farthest)) {
        detail::fail("inv_freq", detail::to_text(frequency),
                     "must be finite, and so must its product with any position");
      }
    }
    detail::checked_positive("attention_factor", frequencies_.attention_factor);
    digit_turns_.resize(static_cast<std::size_t>(digits * base * turn_size()));
    for (Index k = 0; k < digits; ++k) {
      for (Index digit = 0; digit < base; ++digit) {
        const Magnitude position = static_cast<Magnitude>(digit) * place_value(k);
        write_turn(position, digit_turns_.data() + turn_offset(position, k));
      }
    }
  }

  Index rotary_dim() const { return 2 * pairs(); }
  double attention_factor() const { return frequencies_.attention_factor; }
  const std::vector<double>& inv_freq() const { return frequencies_.inv_freq; }
  RopePairing pairing() const { return pairing_; }

 private:
  friend class RotaryAngles;

  /// |position|, for any Index. The angle of -p is minus that of p, rounding errors included.
  using Magnitude = std::uint64_t;

  static constexpr Index base = 16, digits = 3;  // those of a position that have tables; base is a power of two

  static constexpr Magnitude place_value(Index k) {
    Magnitude value = 1;
    for (; k > 0; --k) value *= static_cast<Magnitude>(base);
    return value;
  }

  Index pairs() const { return static_cast<Index>(frequencies_.inv_freq.size()); }

  Index padded_pairs() const { return detail::round_up(pairs(), detail::Turn::multiple); }
  Index turn_size() const { return 3 * padded_pairs(); }

  /// The detail::Turn of one position. Pairs that pad it turn by nothing.
  void write_turn(Magnitude position, double* turn) const {
    const Index padded = padded_pairs();
    std::fill_n(turn, turn_size(), 0.0);
    std::fill_n(turn + padded, padded, 1.0);
    if (position == 0) return;  // the start of every position below 4096
    for (Index m = 0; m < pairs(); ++m) {
      const double angle = static_cast<double>(position) * frequencies_.inv_freq[static_cast<std::size_t>(m)];
      turn[m] = angle;
      turn[m + padded] = std::cos(angle);
      turn[m + 2 * padded] = std::sin(angle);
    }
  }

  /// Where the turn of digit k of a position, counted from the lowest, is in digit_turns_.
  Index turn_offset(Magnitude position, Index k) const {
    return (k * base + static_cast<Index>(position / place_value(k) % static_cast<Magnitude>(base))) * turn_size();
  }

  RopeFrequencies frequencies_;
  RopePairing pairing_;
  std::vector<double, detail::LineAllocator<double>> digit_turns_;
};

/// Cosines and sines of one position at a time, in memory of the caller: one object per thread. Consecutive positions
/// are cheap; one in another block of 4096 costs a sine and a cosine per pair.
class RotaryAngles {
 public:
  /// doubles of memory for one embedding
  static Index workspace(const RotaryEmbedding& rope) { return digits * rope.turn_size() + rope.padded_pairs(); }
  /// Cosines, and sines, that are written for a position: one for each pair, and some more.
  static Index size(const RotaryEmbedding& rope) { return rope.padded_pairs(); }

  /// `workspace` may be null for an object that is never called.
  RotaryAngles(const RotaryEmbedding& rope, double* workspace)
      : rope_(rope), turns_(workspace), angle_(workspace != nullptr ? workspace + digits * rope.turn_size() : nullptr) {
    std::fill_n(places_, digits, ~Magnitude{0});  // equals no position without its low digits
  }

  /// Writes cos and sin of position * inv_freq[m] for each pair m, [size] each, for any position; one beyond +-2^53 is
  /// rounded to the nearest double.
  template <class T>
  void operator()(Index position, T* cosine, T* sine) {
    const bool backwards = position < 0;
    const Magnitude magnitude = backwards ? -static_cast<Magnitude>(position) : static_cast<Magnitude>(position);
    const detail::Turn rest = turn_without(1, magnitude);
    if constexpr (sizeof(T) > sizeof(float)) write_angles(magnitude, angle_);
    detail::sum_of_turns(angle_, rest, digit_turn(magnitude, 0), cosine, sine);
    if (!backwards) return;
    for (Index m = 0; m < rope_.pairs(); ++m) sine[m] = -sine[m];
  }

 private:
  using Magnitude = RotaryEmbedding::Magnitude;
  static constexpr Index digits = RotaryEmbedding::digits;

  detail::Turn digit_turn(Magnitude position, Index k) const {
    return {rope_.digit_turns_.data() + rope_.turn_offset(position, k), rope_.padded_pairs()};
  }

  /// The turn of a position with its lowest `count` digits, 1 to `digits` of them, 0: made where it is not the last
  /// one.
  detail::Turn turn_without(Index count, Magnitude position) {
    double* const turn = turns_ + (count - 1) * rope_.turn_size();
    const Index padded = rope_.padded_pairs();
    const Magnitude place = position - position % RotaryEmbedding::place_value(count);
    if (places_[count - 1] != place) {
      places_[count - 1] = place;
      if (count == digits) {
        rope_.write_turn(place, turn);
      } else {
        const detail::Turn rest = turn_without(count + 1, position);
        write_angles(place, turn);
        detail::sum_of_turns(turn, rest, digit_turn(position, count), turn + padded, turn + 2 * padded);
      }
    }
    return {turn, padded};
  }

  /// Apart from add_turns, through memory: a compiler that fused product and difference would leave nothing to correct.
  void write_angles(Magnitude position, double* angle) const {
    for (Index m = 0; m < rope_.pairs(); ++m) {
      angle[m] = static_cast<double>(position) * rope_.frequencies_.inv_freq[static_cast<std::size_t>(m)];
    }
    std::fill(angle + rope_.pairs(), angle + rope_.padded_pairs(), 0.0);
  }

  const RotaryEmbedding& rope_;
  double* turns_;  // of the last position without its lowest digit, without its lowest two, without all three
  double* angle_;  // of the position at hand
  Magnitude places_[digits];  // those positions
};

}  // namespace dca
