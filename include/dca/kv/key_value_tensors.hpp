// What dense and ragged keys and values share.
#pragma once

#include <array>
#include <span>

#include "dca/kv/byte_rows.hpp"
#include "dca/tensor/checks.hpp"

namespace dca::detail {

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

/// Unrotated keys and values in two tensors whose types are erased: a batch of sequences of one length, or several of
/// any length one after the other. Refers to the memory of all arguments.
class KeyValueTensors {
 public:
  /// As DenseKeyValues.
  KeyValueTensors(const AnyTensor& keys, const AnyTensor& values)
      : key_(checked_view("key", keys, 4, true)), value_(checked_view("value", values, 4, true)) {
    check_equal("value", "batch", value_.shape[0], "key", key_.shape[0]);
    check_equal("value", "length", value_.shape[1], "key", key_.shape[1]);
    check_equal("value", "kv_heads", value_.shape[2], "key", key_.shape[2]);
  }

  /// As RaggedKeyValues.
  KeyValueTensors(const AnyTensor& keys, const AnyTensor& values, std::span<const Index> cu_seqlens)
      : key_(checked_view("key", keys, 4, true)),
        value_(checked_view("value", values, 4, true)),
        cu_seqlens_(cu_seqlens) {
    check_equal("key", "batch", key_.shape[0], "a ragged tensor", 1);
    check_equal("value", "batch", value_.shape[0], "a ragged tensor", 1);
    check_equal("value", "length", value_.shape[1], "key", key_.shape[1]);
    check_equal("value", "kv_heads", value_.shape[2], "key", key_.shape[2]);
    check_cu_seqlens("cu_seqlens of key", cu_seqlens, key_.shape[1]);
  }

  ByteRows keys(Index sequence, Index kv_head, Index first) const { return run(key_, sequence, kv_head, first); }
  ByteRows values(Index sequence, Index kv_head, Index first) const { return run(value_, sequence, kv_head, first); }
  Index sequences() const { return cu_seqlens_.empty() ? key_.shape[0] : static_cast<Index>(cu_seqlens_.size()) - 1; }
  Index length(Index sequence) const {
    return cu_seqlens_.empty() ? key_.shape[1] : start(sequence + 1) - start(sequence);
  }
  Index kv_heads() const { return key_.shape[2]; }
  Index head_dim() const { return key_.shape[3]; }
  Index v_head_dim() const { return value_.shape[3]; }
  std::array<NamedRange, 2> memory() const { return {{{"key", byte_range(key_)}, {"value", byte_range(value_)}}}; }

 private:
  Index start(Index sequence) const { return cu_seqlens_[static_cast<std::size_t>(sequence)]; }

  ByteRows run(const AnyTensor& x, Index sequence, Index kv_head, Index first) const {
    const TensorRows rows(x);
    const bool dense = cu_seqlens_.empty();
    const std::byte* const place =
        dense ? rows.row(sequence, first, kv_head) : rows.row(0, start(sequence) + first, kv_head);
    return {place, rows.strides[1], length(sequence) - first};
  }

  AnyTensor key_, value_;
  std::span<const Index> cu_seqlens_;  // empty where every batch is a sequence
};

/// Those of types K and V, as a KeyValueSource.
template <class K, class V>
class TypedTensors : private KeyValueTensors {
 public:
  using Key = K;
  using Value = V;
  using KeyPlacement = Unplaced;

  using KeyValueTensors::head_dim;
  using KeyValueTensors::kv_heads;
  using KeyValueTensors::length;
  using KeyValueTensors::memory;
  using KeyValueTensors::sequences;
  using KeyValueTensors::v_head_dim;

  RowRun<K> keys(Index sequence, Index kv_head, Index first) const {
    return KeyValueTensors::keys(sequence, kv_head, first).template as<K>();
  }
  RowRun<V> values(Index sequence, Index kv_head, Index first) const {
    return KeyValueTensors::values(sequence, kv_head, first).template as<V>();
  }

 protected:
  using KeyValueTensors::KeyValueTensors;
};

}  // namespace dca::detail
