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

  /// All but the outermost one; of none, none.
  constexpr Extents without_first() const {
    Extents rest;
    for (int k = 1; k < rank_; ++k) rest.values_[static_cast<std::size_t>(rest.rank_++)] = (*this)[k];
    return rest;
  }

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

  /// Entries [first, first + count) of a dimension, counted from 0, the outermost: tokens are dimension 1 of
  /// [batch, length, heads, head_dim] and dimension 0 of [length, heads, head_dim]. Throws std::invalid_argument unless
  /// 0 <= dimension < rank and 0 <= first <= first + count <= shape[dimension].
  constexpr TensorView slice(int dimension, Index first, Index count) const {
    if (dimension < 0 || dimension >= shape.rank()) {
      detail::fail("dimension", detail::to_text(dimension),
                   "must be at least 0 and less than the rank, " + detail::to_text(shape.rank()));
    }
    const Index size = shape[dimension];
    if (first < 0 || count < 0 || first > size || count > size - first) {
      detail::fail("slice", detail::to_text(count) + " entries from " + detail::to_text(first),
                   "must lie within shape[" + detail::to_text(dimension) + "], " + detail::to_text(size));
    }
    TensorView part{count > 0 ? entry_data(dimension, first) : data, shape, strides};
    part.shape[dimension] = count;
    return part;
  }

  /// One entry of the outermost dimension, without it: of a batch, what belongs to one sequence. Throws
  /// std::invalid_argument unless 0 <= index < shape[0].
  constexpr TensorView entry(Index index) const {
    const Index size = shape.rank() > 0 ? shape[0] : 0;
    if (index < 0 || index >= size) {
      detail::fail("entry", detail::to_text(index),
                   "must be at least 0 and less than shape[0], " + detail::to_text(size));
    }
    return {entry_data(0, index), shape.without_first(), strides.without_first()};
  }

 private:
  /// Where an entry of a dimension begins. Strides may be any numbers until a call checks them.
  constexpr T* entry_data(int dimension, Index index) const {
    constexpr Index most = std::numeric_limits<Index>::max() / static_cast<Index>(sizeof(T));
    const Index stride = strides[dimension];
    if (index > 0 && (stride > most / index || stride < -(most / index))) {
      detail::fail("stride", detail::to_text(stride), "the memory it spans must fit a signed 64-bit size");
    }
    return data == nullptr ? data : data + index * stride;  // without data, calls refuse it
  }
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
