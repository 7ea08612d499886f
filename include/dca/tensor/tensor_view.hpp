// The tensor that every operator takes: a pointer, a shape and strides. Owns nothing.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <type_traits>

#include "dca/tensor/index.hpp"

namespace dca {

/// Up to four sizes or strides, outermost first. Throws std::invalid_argument for more than four.
class Extents {
 public:
  static constexpr int max_rank = 4;

  constexpr Extents() = default;
  constexpr Extents(std::initializer_list<Index> values) {
    if (values.size() > max_rank) {
      detail::fail("extents", detail::to_text(values.size()) + " values", "a tensor has at most 4 dimensions");
    }
    for (const Index value : values) values_[static_cast<std::size_t>(rank_++)] = value;
  }

  constexpr int rank() const { return rank_; }
  constexpr Index operator[](int k) const { return values_[static_cast<std::size_t>(k)]; }
  constexpr Index& operator[](int k) { return values_[static_cast<std::size_t>(k)]; }
  friend constexpr bool operator==(const Extents&, const Extents&) = default;

 private:
  std::array<Index, max_rank> values_{};
  int rank_ = 0;
};

/// A tensor in memory of the caller's: element (i, j, ...) is data[i * strides[0] + j * strides[1] + ...].
///
/// Operators take [batch, length, heads, head_dim] or [length, heads, head_dim] (a batch of one), and lse as
/// [batch, length, heads] or [length, heads]. Strides are in elements and may have any order, so that
/// [batch, heads, length, head_dim] memory needs no copy; the features of a head must be contiguous (last stride 1).
/// A default-constructed view stands for "not given" where an argument is optional.
template <class T>
struct TensorView {
  T* data = nullptr;
  Extents shape{};
  Extents strides{};

  /// A view that may write converts to one that only reads.
  constexpr operator TensorView<const T>() const requires(!std::is_const_v<T>) { return {data, shape, strides}; }
};

/// View of densely packed memory, last index fastest: the layout of NumPy, PyTorch and Eigen's RowMajor.
/// Throws std::invalid_argument where the number of elements overflows.
template <class T>
TensorView<T> contiguous(T* data, const Extents& shape) {
  Extents strides = shape;
  Index stride = 1;
  for (int k = shape.rank() - 1; k >= 0; --k) {
    strides[k] = stride;
    stride = detail::checked_product("shape", stride, std::max<Index>(shape[k], 1));
  }
  return {data, shape, strides};
}

}  // namespace dca
