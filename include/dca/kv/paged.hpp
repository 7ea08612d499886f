// Sequences in the blocks of a pool, as keys and values of a call.
#pragma once

#include "dca/kv/block_pool.hpp"

namespace dca {

/// The sequences of some block tables of a pool, as a KeyValueSource. `order`, where given, selects and orders them:
/// sequence s of a call is that of tables[order[s]]. Holds references: pool, tables and order must outlive it.
template <class Pool>
class PagedKeyValues {
 public:
  using Key = typename Pool::Key;
  using Value = typename Pool::Value;
  using KeyPlacement = typename Pool::KeyPlacement;

  /// Throws std::invalid_argument where a table has too few blocks, or names one that is out of the pool, not in use,
  /// or with summaries made for another place of a sequence.
  PagedKeyValues(const Pool& pool, std::span<const BlockTable> tables) : pool_(pool), tables_(tables) {
    check_tables();
  }

  /// Throws also where `order` names a table that does not exist. An empty order gives no sequences.
  PagedKeyValues(const Pool& pool, std::span<const BlockTable> tables, std::span<const Index> order)
      : pool_(pool), tables_(tables), order_(order), in_order_(true) {
    for (const Index table : order) {
      if (table < 0 || table >= static_cast<Index>(tables.size())) {
        detail::fail("order", detail::to_text(table),
                     "must be at least 0 and less than the number of tables, " + detail::to_text(tables.size()));
      }
    }
    check_tables();
  }

  auto keys(Index sequence, Index kv_head, Index first) const { return pool_.keys(table(sequence), kv_head, first); }
  auto values(Index sequence, Index kv_head, Index first) const {
    return pool_.values(table(sequence), kv_head, first);
  }
  Index sequences() const { return static_cast<Index>(in_order_ ? order_.size() : tables_.size()); }
  Index length(Index sequence) const { return table(sequence).length; }
  Index kv_heads() const { return pool_.shape().kv_heads; }
  Index head_dim() const { return pool_.shape().head_dim; }
  Index v_head_dim() const { return pool_.shape().v_head_dim; }
  const auto& placement() const { return pool_.placement(); }
  /// Null where there is none.
  const detail::KeyOffset* key_offset() const { return pool_.key_offset(); }
  /// Keys of a summary; 0 where there are none.
  Index summary_block() const { return pool_.shape().summary_block; }
  template <class T>
  void read_summary(Index sequence, Index kv_head, Index window, T* place) const {
    pool_.read_summary(table(sequence), kv_head, window, place);
  }

 private:
  const BlockTable& table(Index sequence) const {
    const auto s = static_cast<std::size_t>(sequence);
    return tables_[in_order_ ? static_cast<std::size_t>(order_[s]) : s];
  }

  void check_tables() const {
    for (Index sequence = 0; sequence < sequences(); ++sequence) pool_.check_readable(table(sequence));
  }

  const Pool& pool_;
  std::span<const BlockTable> tables_;
  std::span<const Index> order_{};
  bool in_order_ = false;
};

}  // namespace dca
