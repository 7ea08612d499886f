// Rows on their way to the kernel or into a cache: converted, rotated, pairs put apart.
#pragma once

#include "dca/device/scratch.hpp"
#include "dca/rope/rotate.hpp"

namespace dca::detail {

/// Turns and converts rows of one width, with the angles of some positions kept: those of a short prompt's queries
/// serve its keys, and those of a token all its heads. Rotated features come out with the first of each pair in front,
/// then the second of each: the same order for queries and keys, whatever the pairing, so that their products do not
/// notice.
template <class T>
class RowRotator {
 public:
  RowRotator(const RotaryEmbedding& rope, Arena& arena)
      : rope_(rope),
        pairs_(rope.rotary_dim() / 2),
        angles_(rope, arena.take<double>(RotaryAngles::workspace(rope))),
        size_(RotaryAngles::size(rope)),
        turns_(arena.take<T>(kept * 2 * size_)) {}

  template <class X>
  void operator()(Index position, const X* x, Index features, T* __restrict y) {
    const Index slot = position & (kept - 1);
    T* const cosine = turns_ + slot * 2 * size_;
    T* const sine = cosine + size_;
    if (!known_[slot] || position != positions_[slot]) {
      angles_(position, cosine, sine);
      positions_[slot] = position;
      known_[slot] = true;
    }
    turn_row(rope_.pairing(), x, pairs_, cosine, sine, y);
    for (Index d = 2 * pairs_; d < features; ++d) y[d] = static_cast<T>(x[d]);
  }

 private:
  static constexpr Index kept = 32;  // positions, by their lowest digits; a power of two

  const RotaryEmbedding& rope_;
  Index pairs_;
  RotaryAngles angles_;
  Index size_;  // of the cosines of a position, and of its sines
  T* turns_;
  Index positions_[kept];
  bool known_[kept] = {};
};

}  // namespace dca::detail
