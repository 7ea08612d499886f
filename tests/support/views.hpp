// Parts of tensor views.
#pragma once

#include <dca/tensor/tensor_view.hpp>

namespace dca_test {

/// Rows [first, first + count) of the length dimension of a view with a batch.
template <class T>
dca::TensorView<T> rows_of(dca::TensorView<T> view, dca::Index first, dca::Index count) {
  view.data += first * view.strides[1];
  view.shape[1] = count;
  return view;
}

/// Batch entry b, without the batch dimension.
template <class T>
dca::TensorView<T> entry_of(const dca::TensorView<T>& view, dca::Index b) {
  return {view.data + b * view.strides[0],
          {view.shape[1], view.shape[2], view.shape[3]},
          {view.strides[1], view.strides[2], view.strides[3]}};
}

}  // namespace dca_test
