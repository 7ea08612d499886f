// Keys and values in two tensors.
#pragma once

#include "dca/kv/key_value_tensors.hpp"

namespace dca {

/// Unrotated keys [batch, length, kv_heads, head_dim] and values [batch, length, kv_heads, v_head_dim], with contiguous
/// features and any other strides; both may drop the batch. Does not own the memory.
template <class K, class V>
class DenseKeyValues : public detail::TypedTensors<K, V> {
 public:
  /// Throws std::invalid_argument where data is missing, features are not contiguous, strides overflow, or shapes
  /// differ.
  DenseKeyValues(TensorView<const K> keys, TensorView<const V> values)
      : detail::TypedTensors<K, V>(detail::AnyTensor(keys), detail::AnyTensor(values)) {}
};

}  // namespace dca
