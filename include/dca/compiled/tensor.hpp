// Tensors whose types of elements are known when the program runs.
#pragma once

#include <initializer_list>
#include <type_traits>

#include "dca/tensor/index.hpp"

namespace Eigen {
struct half;
struct bfloat16;
}  // namespace Eigen

namespace dca::compiled {

/// Types of numbers; int8 and int4 are types of rows in caches alone: see dca::Int8 and dca::Int4.
enum class DType { float32, float64, float16, bfloat16, int8, int4 };

/// The DType of a C++ type.
template <class X>
struct DTypeOf;
template <>
struct DTypeOf<float> : std::integral_constant<DType, DType::float32> {};
template <>
struct DTypeOf<double> : std::integral_constant<DType, DType::float64> {};
template <>
struct DTypeOf<Eigen::half> : std::integral_constant<DType, DType::float16> {};
template <>
struct DTypeOf<Eigen::bfloat16> : std::integral_constant<DType, DType::bfloat16> {};

/// A dca::TensorView, or what looks like one.
template <class View>
concept TypedView = requires(const View& view, int k) {
  DTypeOf<std::remove_cv_t<std::remove_pointer_t<decltype(view.data)>>>::value;
  { view.shape.rank() } -> std::convertible_to<int>;
  { view.shape[k] } -> std::convertible_to<Index>;
  { view.strides[k] } -> std::convertible_to<Index>;
};

/// A tensor in memory of the caller's: element (i, j, ...) is data[i * strides[0] + j * strides[1] + ...]. Shapes and
/// strides as those of dca::TensorView, strides in elements. Rank 0 stands for "not given" where an argument is
/// optional.
template <class Data>
struct BasicTensor {
  Data* data = nullptr;
  DType dtype = DType::float32;
  int rank = 0;
  Index shape[4] = {};
  Index strides[4] = {};

  [[gnu::always_inline]] constexpr BasicTensor() {}

  /// Of a dca::TensorView.
  template <TypedView View>
  requires std::is_convertible_v<decltype(View::data), Data*>
  [[gnu::always_inline]] constexpr BasicTensor(const View& view)
      : data(view.data),
        dtype(DTypeOf<std::remove_cv_t<std::remove_pointer_t<decltype(view.data)>>>::value),
        rank(view.shape.rank()) {
    for (int k = 0; k < rank && k < 4; ++k) {
      shape[k] = view.shape[k];
      strides[k] = view.strides[k];
    }
  }

  /// One that is written, read.
  template <class Other>
  requires(std::is_const_v<Data> && !std::is_const_v<Other>)
      [[gnu::always_inline]] constexpr BasicTensor(const BasicTensor<Other>& other)
      : data(other.data), dtype(other.dtype), rank(other.rank) {
    for (int k = 0; k < 4; ++k) {
      shape[k] = other.shape[k];
      strides[k] = other.strides[k];
    }
  }
};

/// What a call reads, and what it writes.
using ConstTensor = BasicTensor<const void>;
using Tensor = BasicTensor<void>;

/// Densely packed memory, last index fastest. Throws std::invalid_argument for more than four dimensions, or where the
/// number of elements overflows.
[[gnu::visibility("default")]] Tensor contiguous(void* data, DType dtype, std::initializer_list<Index> shape);
[[gnu::visibility("default")]] ConstTensor contiguous(const void* data, DType dtype,
                                                      std::initializer_list<Index> shape);
template <class X>
[[gnu::always_inline]] inline auto contiguous(X* data, std::initializer_list<Index> shape)
    -> BasicTensor<std::conditional_t<std::is_const_v<X>, const void, void>> {
  using Data = std::conditional_t<std::is_const_v<X>, const void, void>;
  return contiguous(static_cast<Data*>(data), DTypeOf<std::remove_const_t<X>>::value, shape);
}

}  // namespace dca::compiled
