// Keys and values in two tensors.
#pragma once

#include "dca/kv/key_value_source.hpp"
#include "dca/tensor/checks.hpp"

namespace dca {

/// Unrotated keys [batch, length, kv_heads, head_dim] and values [batch, length, kv_heads, v_head_dim], with contiguous
/// features and any other strides; both may drop the batch. Does not own the memory.
template <class K, class V>
class DenseKeyValues {
 public:
  using Key = K;
  using Value = V;
  using KeyPlacement = Unplaced;

  /// Throws std::invalid_argument where data is missing, features are not contiguous, strides overflow, or shapes
  /// differ.
  DenseKeyValues(TensorView<const K> keys, TensorView<const V> values)
      : keys_(detail::checked_view("key", keys, 4, true)), values_(detail::checked_view("value", values, 4, true)) {
    detail::check_equal("value", "batch", values_.shape[0], "key", keys_.shape[0]);
    detail::check_equal("value", "length", values_.shape[1], "key", keys_.shape[1]);
    detail::check_equal("value", "kv_heads", values_.shape[2], "key", keys_.shape[2]);
  }

  RowRun<K> keys(Index batch, Index kv_head, Index first) const { return run(keys_, batch, kv_head, first); }
  RowRun<V> values(Index batch, Index kv_head, Index first) const { return run(values_, batch, kv_head, first); }
  Index sequences() const { return keys_.shape[0]; }
  Index length(Index) const { return keys_.shape[1]; }
  Index kv_heads() const { return keys_.shape[2]; }
  Index head_dim() const { return keys_.shape[3]; }
  Index v_head_dim() const { return values_.shape[3]; }
  std::array<detail::NamedRange, 2> memory() const {
    return {{{"key", detail::byte_range(keys_)}, {"value", detail::byte_range(values_)}}};
  }

 private:
  template <class T>
  static RowRun<T> run(const TensorView<const T>& x, Index batch, Index kv_head, Index first) {
    return {x.data + batch * x.strides[0] + first * x.strides[1] + kv_head * x.strides[2], x.strides[1],
            x.shape[1] - first};
  }

  TensorView<const K> keys_;
  TensorView<const V> values_;
};

}  // namespace dca
