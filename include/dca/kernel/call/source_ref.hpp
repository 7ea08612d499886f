// A source of keys and values by reference, whatever its type.
#pragma once

#include "dca/kernel/call/row_functions.hpp"
#include "dca/kv/key_offset.hpp"

namespace dca::detail {

/// How rows of a storage are read and multiplied in numbers of T.
template <class T>
struct RowKernels {
  RowAccess<T> access;
  const ScoreFunctions<T>* score;   // null where rows must be decoded before they are multiplied with queries
  const ByRows<AddValues<T>>* add;  // likewise with weights
};

/// Of keys. Where they are not placed they are decoded first, and nothing is compiled that multiplies them.
template <class T, class E, bool placed>
RowKernels<T> key_kernels(Index features) {
  const ScoreFunctions<T>* score = nullptr;
  if constexpr (placed) score = score_functions<T, E>();
  return {row_access<T, E>(features), score, nullptr};
}

/// Of values, which are not multiplied with queries.
template <class T, class E>
RowKernels<T> value_kernels(Index features) {
  return {row_access<T, E>(features), nullptr, add_functions<T, E>()};
}

/// What tiles need of a KeyValueSource, in numbers of T. The source must outlive it.
template <class T>
class SourceRef {
 public:
  template <KeyValueSource Source>
  explicit SourceRef(const Source& source)
      : SourceRef(source, key_kernels<T, typename Source::Key, has_placed_keys<Source>>(source.head_dim()),
                  value_kernels<T, typename Source::Value>(source.v_head_dim()), has_placed_keys<Source>) {}

  /// Of a source whose storages are erased: its keys and values are ByteRows.
  template <class Source>
  SourceRef(const Source& source, const RowKernels<T>& of_keys, const RowKernels<T>& of_values, bool placed)
      : key(of_keys.access),
        value(of_values.access),
        sequences(source.sequences()),
        kv_heads(source.kv_heads()),
        head_dim(source.head_dim()),
        v_head_dim(source.v_head_dim()),
        keys_are_placed(placed),
        source_(std::addressof(source)) {
    // Keys that are not placed are not multiplied from where they lie.
    if (placed && head_dim % packet_features<T>() == 0) score = of_keys.score;
    if (v_head_dim % packet_features<T>() == 0) add = of_values.add;
    keys_ = [](const void* place, Index sequence, Index kv_head, Index first) {
      return ByteRows(static_cast<const Source*>(place)->keys(sequence, kv_head, first));
    };
    values_ = [](const void* place, Index sequence, Index kv_head, Index first) {
      return ByteRows(static_cast<const Source*>(place)->values(sequence, kv_head, first));
    };
    length_ = [](const void* place, Index sequence) { return static_cast<const Source*>(place)->length(sequence); };
    if constexpr (HasSummaries<Source, T>) {
      if (placed) {
        summary_block = source.summary_block();
        read_summary_ = [](const void* place, Index sequence, Index kv_head, Index block, T* to) {
          static_cast<const Source*>(place)->read_summary(sequence, kv_head, block, to);
        };
      }
    }
    if constexpr (requires { source.key_offset(); }) key_offset = source.key_offset();
    if constexpr (HasMemory<Source>) memory = source.memory();  // caches own theirs
  }

  ByteRows keys(Index sequence, Index kv_head, Index first) const { return keys_(source_, sequence, kv_head, first); }
  ByteRows values(Index sequence, Index kv_head, Index first) const {
    return values_(source_, sequence, kv_head, first);
  }
  Index length(Index sequence) const { return length_(source_, sequence); }
  bool has_summaries() const { return read_summary_ != nullptr; }
  void read_summary(Index sequence, Index kv_head, Index block, T* to) const {
    read_summary_(source_, sequence, kv_head, block, to);
  }

  RowAccess<T> key, value;
  const ScoreFunctions<T>* score = nullptr;   // null where keys must be decoded before they are multiplied
  const ByRows<AddValues<T>>* add = nullptr;  // likewise for values
  Index sequences, kv_heads, head_dim, v_head_dim;
  bool keys_are_placed;
  const KeyOffset* key_offset = nullptr;  // to be added to keys, where they are placed
  Index summary_block = 0;                // keys of a summary, where there are any
  std::array<NamedRange, 2> memory{{{"key", {nullptr, nullptr}}, {"value", {nullptr, nullptr}}}};

 private:
  using Rows = ByteRows (*)(const void* source, Index sequence, Index kv_head, Index first);

  const void* source_;
  Rows keys_, values_;
  Index (*length_)(const void*, Index);
  void (*read_summary_)(const void*, Index, Index, Index, T*) = nullptr;
};

}  // namespace dca::detail
