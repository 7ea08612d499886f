// Views of Eigen tensors, without copies.
#pragma once

#include <Eigen/Core>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>

#include "dca/tensor/tensor_view.hpp"

namespace dca {
namespace detail {

template <class Tensor>
inline constexpr bool is_row_major = static_cast<int>(std::remove_cvref_t<Tensor>::Layout) ==
                                     static_cast<int>(Eigen::RowMajor);

/// View of `tensor` with its indices outermost first: as they stand for a row-major tensor, reversed for a
/// column-major one (whose first index is the fastest).
template <class Tensor>
auto view_outermost_first(Tensor& tensor) {
  using Element = std::remove_pointer_t<decltype(tensor.data())>;
  constexpr int rank = std::remove_cvref_t<Tensor>::NumDimensions;
  Extents shape = [] {
    if constexpr (rank == 2) return Extents{0, 0};
    if constexpr (rank == 3) return Extents{0, 0, 0};
    if constexpr (rank == 4) return Extents{0, 0, 0, 0};
  }();
  const auto& sizes = tensor.dimensions();
  // Constant indices suit both kinds of dimensions(), fixed and dynamic, whose index types differ.
  const auto fill = [&]<int... k>(std::integer_sequence<int, k...>) {
    ((shape[k] = sizes[is_row_major<Tensor> ? k : rank - 1 - k]), ...);
  };
  fill(std::make_integer_sequence<int, rank>{});
  return contiguous<Element>(tensor.data(), shape);
}

/// Swaps two dimensions of a view.
template <class T>
TensorView<T> swapped(TensorView<T> view, int a, int b) {
  std::swap(view.shape[a], view.shape[b]);
  std::swap(view.strides[a], view.strides[b]);
  return view;
}

template <class Tensor>
inline constexpr int rank_of = std::remove_cvref_t<Tensor>::NumDimensions;

template <class Tensor>
inline constexpr bool is_map = false;
template <class Plain, int Options, template <class> class Pointer>
inline constexpr bool is_map<Eigen::TensorMap<Plain, Options, Pointer>> = true;

/// An lvalue, or a map, which owns no memory. A view of a temporary that owns its memory would dangle.
template <class Tensor>
concept LastingTensor = std::is_lvalue_reference_v<Tensor> || is_map<std::remove_cvref_t<Tensor>>;

}  // namespace detail

/// View of an Eigen Tensor or TensorMap whose memory is [batch, length, heads, head_dim], head_dim fastest; rank 3
/// drops the batch. A row-major tensor has its indices in that order, a column-major one in the reverse order
/// (head_dim, heads, length, batch): the same bytes. A const tensor gives a TensorView<const T>. Temporaries must be
/// maps: a view of a temporary Tensor would dangle.
template <detail::LastingTensor Tensor>
auto blhd(Tensor&& tensor) {
  static_assert(detail::rank_of<Tensor> == 3 || detail::rank_of<Tensor> == 4, "blhd takes tensors of rank 3 and 4");
  return detail::view_outermost_first(tensor);
}

/// As blhd, for memory that is [batch, heads, length, head_dim]. The view's shape is [batch, length, heads, head_dim].
template <detail::LastingTensor Tensor>
auto bhld(Tensor&& tensor) {
  constexpr int rank = detail::rank_of<Tensor>;
  static_assert(rank == 3 || rank == 4, "bhld takes tensors of rank 3 and 4");
  return detail::swapped(detail::view_outermost_first(tensor), rank - 3, rank - 2);
}

/// View of an lse tensor whose memory is [batch, length, heads], heads fastest; rank 2 drops the batch.
template <detail::LastingTensor Tensor>
auto blh(Tensor&& tensor) {
  static_assert(detail::rank_of<Tensor> == 2 || detail::rank_of<Tensor> == 3, "blh takes tensors of rank 2 and 3");
  return detail::view_outermost_first(tensor);
}

/// As blh, for memory that is [batch, heads, length]. The view's shape is [batch, length, heads].
template <detail::LastingTensor Tensor>
auto bhl(Tensor&& tensor) {
  constexpr int rank = detail::rank_of<Tensor>;
  static_assert(rank == 2 || rank == 3, "bhl takes tensors of rank 2 and 3");
  return detail::swapped(detail::view_outermost_first(tensor), rank - 2, rank - 1);
}

}  // namespace dca
