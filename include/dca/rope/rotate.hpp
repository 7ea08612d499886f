// Rotation of feature rows, and its inverse.
#pragma once

#include <span>

#include "dca/rope/rotary_embedding.hpp"
#include "dca/tensor/checks.hpp"

namespace dca {
namespace detail {

/// Half precision rows are turned in float.
template <class T>
using RotationScalar = std::conditional_t<(sizeof(T) < sizeof(float)), float, T>;

template <class T>
void rotate_rows(const RotaryEmbedding& rope, std::span<const Index> positions, TensorView<T> x, bool forward) {
  x = checked_view("x", x, 4, true);
  check_no_self_overlap("x", x.shape, x.strides);
  check_equal("positions", "size", static_cast<Index>(positions.size()), "x's rows", x.shape[1]);
  if (rope.rotary_dim() > x.shape[3]) {
    fail("rotary_dim", to_text(rope.rotary_dim()), "must be at most head_dim, " + to_text(x.shape[3]));
  }
  using Scalar = RotationScalar<T>;
  const Index pairs = rope.rotary_dim() / 2;
  std::vector<double> workspace(static_cast<std::size_t>(RotaryAngles::workspace(rope)));
  const auto size = static_cast<std::size_t>(RotaryAngles::size(rope));
  std::vector<Scalar> cosine(size), sine(size);
  RotaryAngles angles(rope, workspace.data());
  for (Index row = 0; row < x.shape[1]; ++row) {
    angles(positions[static_cast<std::size_t>(row)], cosine.data(), sine.data());
    if (!forward) {
      for (Scalar& s : sine) s = -s;
    }
    for (Index batch = 0; batch < x.shape[0]; ++batch) {
      for (Index head = 0; head < x.shape[2]; ++head) {
        T* const features = x.data + batch * x.strides[0] + row * x.strides[1] + head * x.strides[2];
        turn_in_place(rope.pairing(), features, pairs, cosine.data(), sine.data());
      }
    }
  }
}

}  // namespace detail

/// Rotates the leading rotary_dim features of row r of x, [batch, length, heads, head_dim] or [length, heads,
/// head_dim], by positions[r], which may be negative, in place. Does not apply the attention factor, which belongs to
/// queries. Throws std::invalid_argument, with nothing written, unless there is one position per row, rotary_dim <=
/// head_dim, and x has data, contiguous features and no overlapping elements.
template <class T>
void rotate(const RotaryEmbedding& rope, std::span<const Index> positions, TensorView<T> x) {
  detail::rotate_rows(rope, positions, x, true);
}

/// The inverse of rotate. Throws what rotate throws.
template <class T>
void rotate_back(const RotaryEmbedding& rope, std::span<const Index> positions, TensorView<T> x) {
  detail::rotate_rows(rope, positions, x, false);
}

}  // namespace dca
