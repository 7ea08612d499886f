// The functions of this file's instruction set for rows of a storage.
#pragma once

#include "dca/kernel/machine/streamed_product.hpp"

namespace dca::detail {

template <class T, class E>
inline constexpr ByRows<ScoreRows<T>> score_table = [] {
  static_assert(LoadsPackets<T, E>);
  return ByRows<ScoreRows<T>>{score_rows<T, E, 1>, score_rows<T, E, 2>, score_rows<T, E, 3>, score_rows<T, E, 4>};
}();

template <class T, class E>
inline constexpr ByRows<AddValues<T>> add_table = [] {
  static_assert(LoadsPackets<T, E>);
  return ByRows<AddValues<T>>{add_values<T, E, 1>, add_values<T, E, 2>, add_values<T, E, 3>, add_values<T, E, 4>};
}();

template <class T, class E>
constexpr const ByRows<ScoreRows<T>>* score_table_of() {
  if constexpr (LoadsPackets<T, E>) return &score_table<T, E>;
  return nullptr;
}

template <class T, class E>
constexpr const ByRows<AddValues<T>>* add_table_of() {
  if constexpr (LoadsPackets<T, E>) return &add_table<T, E>;
  return nullptr;
}

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
