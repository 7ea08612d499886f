// How a row of features lies in memory.
#pragma once

#include <Eigen/Core>
#include <cstddef>

#include "dca/packet/widths.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca {

template <class E>
struct RowStorage;

namespace detail {

template <class E>
concept HasSide = requires {
  typename RowStorage<E>::Side;
};

/// What a storage says of its side, or that it has none.
template <class E>
struct SideOf {
  using Type = std::byte;
  static constexpr Index tokens = 1;
  static constexpr Index size(Index) { return 0; }
};
template <HasSide E>
struct SideOf<E> {
  using Type = typename RowStorage<E>::Side;
  static constexpr Index tokens = RowStorage<E>::side_tokens;
  static_assert(tokens >= 1);
  static constexpr Index size(Index features) { return RowStorage<E>::sides(features); }
};

}  // namespace detail

/// What a pointer to a row of E points to: E itself, or bytes.
template <class E>
using StorageUnit = typename RowStorage<E>::Unit;

/// What a pointer to the side of a row of E points to.
template <class E>
using StorageSide = typename detail::SideOf<E>::Type;

/// A row in memory, and the side that it shares.
template <class E>
struct StoredRow {
  const StorageUnit<E>* data = nullptr;
  const StorageSide<E>* side = nullptr;
};

/// Where a row is to be stored: number `token` of those that share the side.
template <class E>
struct RowPlace {
  StorageUnit<E>* data = nullptr;
  StorageSide<E>* side = nullptr;
  Index token = 0;
};

/// How a row of features is stored as E: plain numbers here, converted by rounding to nearest. Specialise it for a type
/// of your own to add a storage, to caches and to memory of your own. It says:
///
/// - Unit, units(features): a row is so many Units, whatever they hold. `multiple`: features must be a multiple of it.
/// - encode and decode, with X float or double. decode is called from several threads at once.
/// - Side, sides(features), side_tokens, if it wants them: so many Sides lie in an array of their own beside the rows,
///   for every side_tokens tokens of a kv_head: scales, sums, offsets. encode is called for the tokens of a side one
///   after the other, from the first one on, or, after a truncation, from one in the middle; it may write the side each
///   time, but must leave earlier rows what they are. Sides begin anew with every block of a pool.
/// - load<T>(row, features, d), if the processor has a way: features [d, d + size) of a row as a packet of T, as decode
///   gives them, where features are whole packets. Such rows are multiplied from where they lie, by few query rows;
///   others are decoded before, tile by tile. With scale(row, features), what load gives is multiplied by it
///   afterwards.
template <class E>
struct RowStorage {
  using Unit = E;
  static constexpr Index multiple = 1;
  static constexpr Index units(Index features) { return features; }

  template <class X>
  static void encode(const X* x, Index features, RowPlace<E> row) {
    for (Index d = 0; d < features; ++d) row.data[d] = static_cast<E>(x[d]);
  }
  template <class X>
  static void decode(StoredRow<E> row, Index features, X* x) {
    for (Index d = 0; d < features; ++d) x[d] = static_cast<X>(row.data[d]);
  }
  template <class T>
  requires detail::loads_as<T, E>
  static EIGEN_ALWAYS_INLINE Packet<T> load(StoredRow<E> row, Index, Index d) {
    return detail::load_as<T>(row.data + d);
  }
};

namespace detail {

/// Whether packets of T are loaded from rows of E.
template <class T, class E>
concept LoadsPackets = requires(StoredRow<E> row, Index d) {
  RowStorage<E>::template load<T>(row, d, d);
};

/// Whether what is loaded must still be multiplied by a scale of the row.
template <class E>
concept HasScale = requires(StoredRow<E> row, Index features) {
  RowStorage<E>::scale(row, features);
};

template <class E>
constexpr Index row_bytes(Index features) {
  return RowStorage<E>::units(features) * static_cast<Index>(sizeof(StorageUnit<E>));
}

/// Decodes a row into numbers of T, by packets where there is a way: to the same bits.
template <class E, class T>
void decode_row(StoredRow<E> row, Index features, T* place) {
  using Storage = RowStorage<E>;
  if constexpr (LoadsPackets<T, E>) {
    if (features % packet_size<T> == 0) {
      for (Index d = 0; d < features; d += packet_size<T>) {
        Packet<T> x = Storage::template load<T>(row, features, d);
        if constexpr (HasScale<E>) x = ei::pmul(x, broadcast(static_cast<T>(Storage::scale(row, features))));
        ei::pstoreu(place + d, x);
      }
      return;
    }
  }
  Storage::decode(row, features, place);
}

}  // namespace detail
}  // namespace dca

#include "dca/packet/code_end.hpp"
