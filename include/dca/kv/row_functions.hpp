// How rows of a storage lie, are read and are written, as values. By this file's instruction set, or by the compiled
// kernels'.
#pragma once

#include "dca/instruction_set/kernel_table.hpp"
#include "dca/kv/byte_rows.hpp"

namespace dca::detail {

/// Rows of a storage, in numbers of T.
template <class T>
struct RowAccess {
  Index bytes;          // of a row
  Index side_tokens;    // tokens that share a side
  DecodeRow<T> decode;  // null where rows are T as they lie
};

/// What a pool needs of a storage whose rows it reads and writes in numbers of T.
template <class T>
struct StoredAs {
  Index multiple;  // features must be a multiple of it
  Index side_tokens;
  Index (*row_bytes)(Index features);
  Index (*side_bytes)(Index features);  // gives 0 where a storage has no sides
  DecodeRow<T> decode;                  // null where rows are T as they lie
  EncodeRow encode;                     // from T
};

/// By this file's own code.
template <class T, class E>
constexpr DecodeRow<T> decode_of() {
  if constexpr (std::is_same_v<T, E>) {
    return nullptr;
  } else {
    return [](ByteRow row, Index features, T* place) {
      const auto* const data = reinterpret_cast<const StorageUnit<E>*>(row.data);
      decode_row<E>({data, reinterpret_cast<const StorageSide<E>*>(row.side)}, features, place);
    };
  }
}

template <class X, class E>
constexpr EncodeRow encode_of() {
  return [](const void* x, Index features, const BytePlace& place) {
    RowStorage<E>::encode(static_cast<const X*>(x), features,
                          RowPlace<E>{reinterpret_cast<StorageUnit<E>*>(place.data),
                                      reinterpret_cast<StorageSide<E>*>(place.side), place.token});
  };
}

/// Null where rows of E are T as they lie.
template <class T, class E>
DecodeRow<T> decode_function() {
#if defined(DCA_COMPILED_KERNELS)
  if constexpr (storage_index<E> >= 0) return kernels_of<T>().decode[storage_index<E>];
#endif
  return decode_of<T, E>();
}

template <class X, class E>
EncodeRow encode_function() {
#if defined(DCA_COMPILED_KERNELS)
  if constexpr (is_known_number<X> && storage_index<E> >= 0) {
    return kernels().encode[storage_index<X>][storage_index<E>];
  }
#endif
  return encode_of<X, E>();
}

template <class T, class E>
RowAccess<T> row_access(Index features) {
  return {row_bytes<E>(features), SideOf<E>::tokens, decode_function<T, E>()};
}

template <class T, class E>
StoredAs<T> stored_as() {
  return {RowStorage<E>::multiple,
          SideOf<E>::tokens,
          [](Index features) { return row_bytes<E>(features); },
          [](Index features) { return SideOf<E>::size(features) * static_cast<Index>(sizeof(StorageSide<E>)); },
          decode_function<T, E>(),
          encode_function<T, E>()};
}

}  // namespace dca::detail
