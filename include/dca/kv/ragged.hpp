// Sequences of different lengths, one after the other in one tensor.
#pragma once

#include <span>

#include "dca/kv/key_value_source.hpp"
#include "dca/tensor/checks.hpp"

namespace dca {
namespace detail {

/// Throws std::invalid_argument unless `cu_seqlens` starts with 0, never falls and ends with `rows`.
inline void check_cu_seqlens(const char* argument, std::span<const Index> cu_seqlens, Index rows) {
  if (cu_seqlens.empty() || cu_seqlens.front() != 0) {
    fail(argument, cu_seqlens.empty() ? "empty" : "starts with " + to_text(cu_seqlens.front()), "must start with 0");
  }
  for (std::size_t s = 1; s < cu_seqlens.size(); ++s) {
    if (cu_seqlens[s] < cu_seqlens[s - 1]) {
      fail(argument, to_text(cu_seqlens[s]) + " after " + to_text(cu_seqlens[s - 1]), "must not decrease");
    }
  }
  if (cu_seqlens.back() != rows) {
    fail(argument, "ends with " + to_text(cu_seqlens.back()), "must end with the number of rows, " + to_text(rows));
  }
}

}  // namespace detail

/// Unrotated keys [total, kv_heads, head_dim] and values [total, kv_heads, v_head_dim] of several sequences without
/// padding: sequence s has the rows [cu_seqlens[s], cu_seqlens[s + 1]), maybe none. Refers to all three.
template <class K, class V>
class RaggedKeyValues {
 public:
  using Key = std::remove_const_t<K>;
  using Value = std::remove_const_t<V>;
  using KeyPlacement = Unplaced;

  /// Throws std::invalid_argument where shapes do not fit together, or cu_seqlens does not start with 0, decreases, or
  /// does not end with `total`.
  RaggedKeyValues(TensorView<K> keys, TensorView<V> values, std::span<const Index> cu_seqlens)
      : keys_(detail::checked_view<const Key>("key", keys, 4, true)),
        values_(detail::checked_view<const Value>("value", values, 4, true)),
        cu_seqlens_(cu_seqlens) {
    detail::check_equal("key", "batch", keys_.shape[0], "a ragged tensor", 1);
    detail::check_equal("value", "batch", values_.shape[0], "a ragged tensor", 1);
    detail::check_equal("value", "length", values_.shape[1], "key", keys_.shape[1]);
    detail::check_equal("value", "kv_heads", values_.shape[2], "key", keys_.shape[2]);
    detail::check_cu_seqlens("cu_seqlens of key", cu_seqlens, keys_.shape[1]);
  }

  RowRun<Key> keys(Index sequence, Index kv_head, Index first) const { return run(keys_, sequence, kv_head, first); }
  RowRun<Value> values(Index sequence, Index kv_head, Index first) const {
    return run(values_, sequence, kv_head, first);
  }
  Index sequences() const { return static_cast<Index>(cu_seqlens_.size()) - 1; }
  Index length(Index sequence) const { return start(sequence + 1) - start(sequence); }
  Index kv_heads() const { return keys_.shape[2]; }
  Index head_dim() const { return keys_.shape[3]; }
  Index v_head_dim() const { return values_.shape[3]; }
  std::array<detail::NamedRange, 2> memory() const {
    return {{{"key", detail::byte_range(keys_)}, {"value", detail::byte_range(values_)}}};
  }

 private:
  Index start(Index sequence) const { return cu_seqlens_[static_cast<std::size_t>(sequence)]; }

  template <class T>
  RowRun<T> run(const TensorView<const T>& x, Index sequence, Index kv_head, Index first) const {
    return {x.data + (start(sequence) + first) * x.strides[1] + kv_head * x.strides[2], x.strides[1],
            length(sequence) - first};
  }

  TensorView<const Key> keys_;
  TensorView<const Value> values_;
  std::span<const Index> cu_seqlens_;
};

}  // namespace dca
