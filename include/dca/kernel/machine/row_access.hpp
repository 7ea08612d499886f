// What the products do with rows of a storage, as values: one table for each scalar and storage.
#pragma once

#include <array>

#include "dca/kernel/machine/streamed_product.hpp"

namespace dca::detail {

/// Rows of a storage, in numbers of T.
template <class T>
struct RowAccess {
  Index bytes;        // of a row
  Index side_tokens;  // tokens that share a side
  /// Decodes a row of `features`; null where rows are T as they lie.
  void (*decode)(ByteRow row, Index features, T* place);
};

/// As score_rows and add_values, by the number of query rows less 1.
template <class T>
using ScoreRows = void (*)(const RowStream&, Index features, const T* queries, T* scores, Index score_stride);
template <class T>
using AddValues = void (*)(const RowStream&, Index features, const T* weights, Index weight_stride, T* sums);
template <class Function>
using ByRows = std::array<Function, rows_per_pass>;

template <class T, class E>
constexpr RowAccess<T> row_access(Index features) {
  RowAccess<T> access{row_bytes<E>(features), SideOf<E>::tokens, nullptr};
  if constexpr (!std::is_same_v<T, E>) {
    access.decode = [](ByteRow row, Index count, T* place) {
      const auto* const data = reinterpret_cast<const StorageUnit<E>*>(row.data);
      decode_row<E>({data, reinterpret_cast<const StorageSide<E>*>(row.side)}, count, place);
    };
  }
  return access;
}

template <class T, class E>
inline constexpr ByRows<ScoreRows<T>> score_functions = [] {
  static_assert(LoadsPackets<T, E>);
  return ByRows<ScoreRows<T>>{score_rows<T, E, 1>, score_rows<T, E, 2>, score_rows<T, E, 3>, score_rows<T, E, 4>};
}();

template <class T, class E>
inline constexpr ByRows<AddValues<T>> add_functions = [] {
  static_assert(LoadsPackets<T, E>);
  return ByRows<AddValues<T>>{add_values<T, E, 1>, add_values<T, E, 2>, add_values<T, E, 3>, add_values<T, E, 4>};
}();

/// A row of `features` as numbers of T: as it lies, or decoded into `place`.
template <class T>
EIGEN_ALWAYS_INLINE const T* plain_row(const RowAccess<T>& access, ByteRow row, Index features, T* place) {
  if (access.decode == nullptr) return reinterpret_cast<const T*>(row.data);
  access.decode(row, features, place);
  return place;
}

/// A row of `features` as numbers of T, in `place`.
template <class T>
EIGEN_ALWAYS_INLINE void decode_to(const RowAccess<T>& access, ByteRow row, Index features, T* place) {
  if (access.decode == nullptr) {
    std::copy_n(reinterpret_cast<const T*>(row.data), features, place);
  } else {
    access.decode(row, features, place);
  }
}

}  // namespace dca::detail
