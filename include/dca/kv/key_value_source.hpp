// Where the tile loop reads keys and values from.
#pragma once

#include <concepts>

#include "dca/tensor/index.hpp"

namespace dca {

/// `count` rows of features in memory: row r starts at data + r * stride, its features are contiguous.
template <class T>
struct RowRun {
  const T* data;
  Index stride;
  Index count;
};

/// What the tile loop asks of its keys and values: runs of rows by (batch, kv_head, absolute position of the first
/// row), each as long as the memory allows and at least one row. The loop asks only for positions that some query sees
/// and converts elements to its own scalar as it packs them.
template <class Source>
concept KeyValueSource = requires(const Source& source, Index batch, Index kv_head, Index first) {
  { source.keys(batch, kv_head, first) } -> std::same_as<RowRun<typename Source::Key>>;
  { source.values(batch, kv_head, first) } -> std::same_as<RowRun<typename Source::Value>>;
  { source.kv_heads() } -> std::same_as<Index>;
  { source.head_dim() } -> std::same_as<Index>;
  { source.v_head_dim() } -> std::same_as<Index>;
};

}  // namespace dca
