// A source of keys and values by reference, whatever its type.
#pragma once

#include "dca/kernel/call/row_functions.hpp"

namespace dca::detail {

/// What tiles need of a KeyValueSource, in numbers of T. The source must outlive it.
template <class T>
class SourceRef {
 public:
  template <KeyValueSource Source>
  explicit SourceRef(const Source& source)
      : key(row_access<T, typename Source::Key>(source.head_dim())),
        value(row_access<T, typename Source::Value>(source.v_head_dim())),
        sequences(source.sequences()),
        kv_heads(source.kv_heads()),
        head_dim(source.head_dim()),
        v_head_dim(source.v_head_dim()),
        keys_are_placed(has_placed_keys<Source>),
        source_(std::addressof(source)) {
    using Key = typename Source::Key;
    using Value = typename Source::Value;
    // Keys that are not placed are not multiplied from where they lie.
    if constexpr (has_placed_keys<Source>) {
      if (head_dim % packet_features<T>() == 0) score = score_functions<T, Key>();
    }
    if (v_head_dim % packet_features<T>() == 0) add = add_functions<T, Value>();
    keys_ = [](const void* place, Index sequence, Index kv_head, Index first) {
      return ByteRows(static_cast<const Source*>(place)->keys(sequence, kv_head, first));
    };
    values_ = [](const void* place, Index sequence, Index kv_head, Index first) {
      return ByteRows(static_cast<const Source*>(place)->values(sequence, kv_head, first));
    };
    length_ = [](const void* place, Index sequence) { return static_cast<const Source*>(place)->length(sequence); };
    if constexpr (SummarisedSource<Source, T>) {
      read_summary_ = [](const void* place, Index sequence, Index kv_head, Index block, T* to) {
        static_cast<const Source*>(place)->read_summary(sequence, kv_head, block, to);
      };
    }
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
  const ByRows<ScoreRows<T>>* score = nullptr;  // null where keys must be decoded before they are multiplied
  const ByRows<AddValues<T>>* add = nullptr;    // likewise for values
  Index sequences, kv_heads, head_dim, v_head_dim;
  bool keys_are_placed;

 private:
  using Rows = ByteRows (*)(const void* source, Index sequence, Index kv_head, Index first);

  const void* source_;
  Rows keys_, values_;
  Index (*length_)(const void*, Index);
  void (*read_summary_)(const void*, Index, Index, Index, T*) = nullptr;
};

}  // namespace dca::detail
