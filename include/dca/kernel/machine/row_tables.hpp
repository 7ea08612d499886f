// The functions of this file's instruction set for rows of a storage.
#pragma once

#include "dca/kernel/machine/integer_product.hpp"
#include "dca/kernel/machine/streamed_product.hpp"

namespace dca::detail {

template <class P>
constexpr ByRows<ScoreRows<typename P::Scalar>> score_rows_of{score_rows<P, 1>, score_rows<P, 2>, score_rows<P, 3>,
                                                              score_rows<P, 4>};

template <class T, class E>
inline constexpr ScoreFunctions<T> score_table = [] {
  static_assert(LoadsPackets<T, E>);
  ScoreFunctions<T> table{score_rows_of<NumberProduct<T, E>>, {}, 1, nullptr, nullptr};
#if DCA_MULTIPLIES_INTEGERS
  if constexpr (has_integer_product<T, E>) {
    using Product = IntegerProduct<E>;
    table.of_packed = score_rows_of<Product>;
    table.step = Product::step;
    table.packed_bytes = Product::query_bytes;
    table.pack = Product::pack;
  }
#endif
  return table;
}();

template <class T, class E>
inline constexpr ByRows<AddValues<T>> add_table = [] {
  static_assert(LoadsPackets<T, E>);
  return ByRows<AddValues<T>>{add_values<T, E, 1>, add_values<T, E, 2>, add_values<T, E, 3>, add_values<T, E, 4>};
}();

template <class T, class E>
constexpr const ScoreFunctions<T>* score_table_of() {
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
