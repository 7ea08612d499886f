// Summaries of key blocks for those who choose among them: a cache's own, or made for one call.
#pragma once

#include "dca/kernel/tile/pack.hpp"
#include "dca/kv/key_summary.hpp"

namespace dca::detail {

/// Reads the summaries that a source keeps. Keys of others are read once, placed where they are not, and summarised
/// before the call looks at them: a table of three rows of features per block.
template <class T>
class KeySummaries {
 public:
  KeySummaries(const SourceRef<T>& source, Index block_size) : source_(source), block_size_(block_size) {}

  Index kv_heads() const { return source_.kv_heads; }
  Index head_dim() const { return source_.head_dim; }

  /// Takes the table from `arena`; of an arena without memory, only the amount. `last_key(sequence)` bounds the keys
  /// that queries choose from.
  void take_table(Arena& arena, FunctionRef<Index(Index)> last_key) {
    if (source_.has_summaries()) return;
    first_block_ = arena.take<Index>(source_.sequences + 1);
    Index blocks = 0;
    for (Index s = 0; s < source_.sequences; ++s) {
      if (first_block_ != nullptr) first_block_[s] = blocks;
      blocks = checked_sum("key", blocks, ceil_div(last_key(s), block_size_));
    }
    if (first_block_ != nullptr) first_block_[source_.sequences] = blocks;
    tasks_ = checked_product("key", blocks, kv_heads());
    table_ = arena.take<T>(checked_product("key", tasks_, KeySummary<T>::size(head_dim())));
  }

  /// Blocks of all sequences and kv_heads to be summarised.
  Index tasks() const { return tasks_; }

  /// Summarises one of them, with keys as a part places them.
  void summarise(const AttentionParams& params, Index part, Index task, Arena& arena) {
    RowRotator<T> rotate(params.rope, arena);
    OffsetTurner<T> offset(source_.key_offset, arena);
    T* const row = arena.take<T>(head_dim());
    const KeyPlacer<T> place_key{params, source_, rotate, offset, arena.take<T>(head_dim())};
    if (!arena.has_memory()) return;  // only the amount is wanted
    const Index kv_head = task % kv_heads(), block = task / kv_heads();
    const Index s = std::upper_bound(first_block_, first_block_ + source_.sequences + 1, block) - first_block_ - 1;
    const Index first = (block - first_block_[s]) * block_size_;
    const Index last = std::min(first + block_size_, source_.length(s));
    KeySummary<T> summary(place(s, kv_head, block - first_block_[s]), head_dim());
    summary.clear();
    const auto run_at = [&](Index key) { return source_.keys(s, kv_head, key); };
    for_each_row(first, last, source_.key, run_at, [&](ByteRow stored, Index key) {
      place_key(part, kv_head, stored, key, row);
      summary.add(row);
    });
    summary.finish(last - first);
  }

  /// Mean, least and largest of a block's keys, [3][head_dim], in `place`.
  void read(Index sequence, Index kv_head, Index block, T* to) const {
    if (source_.has_summaries()) {
      source_.read_summary(sequence, kv_head, block, to);
    } else {
      std::copy_n(place(sequence, kv_head, block), KeySummary<T>::size(head_dim()), to);
    }
  }

 private:
  T* place(Index sequence, Index kv_head, Index block) const {
    return table_ + ((first_block_[sequence] + block) * kv_heads() + kv_head) * KeySummary<T>::size(head_dim());
  }

  const SourceRef<T>& source_;
  Index block_size_;
  Index tasks_ = 0;
  Index* first_block_ = nullptr;  // by sequence, and one past the last
  T* table_ = nullptr;
};

}  // namespace dca::detail
