// Sequences of different lengths, one after the other in one tensor.
#pragma once

#include "dca/kv/key_value_tensors.hpp"

namespace dca {

/// Unrotated keys [total, kv_heads, head_dim] and values [total, kv_heads, v_head_dim] of several sequences without
/// padding: sequence s has the rows [cu_seqlens[s], cu_seqlens[s + 1]), maybe none. Refers to all three.
template <class K, class V>
class RaggedKeyValues : public detail::TypedTensors<std::remove_const_t<K>, std::remove_const_t<V>> {
  using Tensors = detail::TypedTensors<std::remove_const_t<K>, std::remove_const_t<V>>;

 public:
  /// Throws std::invalid_argument where shapes do not fit together, or cu_seqlens does not start with 0, decreases, or
  /// does not end with `total`.
  RaggedKeyValues(TensorView<K> keys, TensorView<V> values, std::span<const Index> cu_seqlens)
      : Tensors(detail::AnyTensor(keys), detail::AnyTensor(values), cu_seqlens) {}
};

}  // namespace dca
