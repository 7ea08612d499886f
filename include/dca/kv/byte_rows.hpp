// Rows in memory, whatever they are stored as.
#pragma once

#include <cstdint>

#include "dca/kv/key_value_source.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// A row in memory, and the side that it shares.
struct ByteRow {
  const std::byte* data;
  const std::byte* side = nullptr;
};

/// Where a row is to be stored: number `token` of those that share the side.
struct BytePlace {
  std::byte* data;
  std::byte* side;
  Index token;
};

/// As RowRun, with strides in bytes.
struct ByteRows {
  const std::byte* data = nullptr;
  Index stride = 0;
  Index count = 0;
  const std::byte* side = nullptr;
  Index side_stride = 0;
  Index side_token = 0;

  ByteRows() = default;
  ByteRows(const std::byte* rows, Index bytes_apart, Index row_count)
      : data(rows), stride(bytes_apart), count(row_count) {}
  template <class E>
  explicit ByteRows(const RowRun<E>& run)
      : data(reinterpret_cast<const std::byte*>(run.data)),
        stride(run.stride * static_cast<Index>(sizeof(StorageUnit<E>))),
        count(run.count),
        side(reinterpret_cast<const std::byte*>(run.side)),
        side_stride(run.side_stride * static_cast<Index>(sizeof(StorageSide<E>))),
        side_token(run.side_token) {}

  template <class E>
  RowRun<E> as() const {
    return {reinterpret_cast<const StorageUnit<E>*>(data),
            stride / static_cast<Index>(sizeof(StorageUnit<E>)),
            count,
            reinterpret_cast<const StorageSide<E>*>(side),
            side_stride / static_cast<Index>(sizeof(StorageSide<E>)),
            side_token};
  }

  /// Whether `more` goes on where these end, sides too; side_tokens tokens share one.
  bool continued_by(const ByteRows& more, Index side_tokens) const {
    if (more.data != data + count * stride || more.stride != stride) return false;
    return side == nullptr ||
           (more.side == side + (side_token + count) / side_tokens * side_stride &&
            more.side_token == (side_token + count) % side_tokens && more.side_stride == side_stride);
  }

  /// Row k, where side_tokens tokens share a side.
  ByteRow row(Index k, Index side_tokens) const {
    return {data + k * stride, side == nullptr ? side : side + (side_token + k) / side_tokens * side_stride};
  }

  template <class E>
  EIGEN_ALWAYS_INLINE const StorageSide<E>* side_of(Index k) const {
    return reinterpret_cast<const StorageSide<E>*>(side + (side_token + k) / SideOf<E>::tokens * side_stride);
  }
  template <class E>
  EIGEN_ALWAYS_INLINE StoredRow<E> row(Index k) const {
    StoredRow<E> row{reinterpret_cast<const StorageUnit<E>*>(data + k * stride)};
    if constexpr (HasSide<E>) row.side = side_of<E>(k);
    return row;
  }
};

/// Rows, and where reading goes on after the last of them.
struct RowStream : ByteRows {
  const std::byte* next;

  RowStream(const ByteRows& rows, const std::byte* after) : ByteRows(rows), next(after) {}

  /// Where row k is. May be invalid beyond the last one: prefetch only.
  EIGEN_ALWAYS_INLINE std::uintptr_t address(Index k) const {
    const auto start = reinterpret_cast<std::uintptr_t>(k < count ? data : next);
    return start + static_cast<std::uintptr_t>((k < count ? k : k - count) * stride);
  }
};

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
