// Rows on their way to the kernel or into a cache: converted, rotated, pairs put apart.
#pragma once

#include "dca/device/scratch.hpp"
#include "dca/rope/rotate.hpp"

namespace dca::detail {

/// Turns and converts rows of one width, with the angles of the last position kept. Rotated features come out with the
/// first of each pair in front, then the second of each: the same order for queries and keys, whatever the pairing, so
/// that their products do not notice.
template <class T>
class RowRotator {
 public:
  RowRotator(const RotaryEmbedding& rope, Arena& arena)
      : rope_(rope),
        pairs_(rope.rotary_dim() / 2),
        angles_(rope, arena.take<double>(RotaryAngles::workspace(rope))),
        cosine_(arena.take<T>(RotaryAngles::size(rope))),
        sine_(arena.take<T>(RotaryAngles::size(rope))) {}

  template <class X>
  void operator()(Index position, const X* x, Index features, T* __restrict y) {
    if (!known_ || position != position_) {
      angles_(position, cosine_, sine_);
      position_ = position;
      known_ = true;
    }
    turn_row(rope_.pairing(), x, pairs_, cosine_, sine_, y);
    for (Index d = 2 * pairs_; d < features; ++d) y[d] = static_cast<T>(x[d]);
  }

 private:
  const RotaryEmbedding& rope_;
  Index pairs_;
  RotaryAngles angles_;
  T* cosine_;
  T* sine_;
  Index position_ = 0;
  bool known_ = false;
};

}  // namespace dca::detail
