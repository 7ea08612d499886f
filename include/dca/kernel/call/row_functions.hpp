// What kernels do with rows of a storage, as values: one table for each scalar and storage.
#pragma once

#include "dca/instruction_set/kernel_table.hpp"
#include "dca/kernel/call/byte_rows.hpp"

namespace dca::detail {

/// Rows of a storage, in numbers of T.
template <class T>
struct RowAccess {
  Index bytes;          // of a row
  Index side_tokens;    // tokens that share a side
  DecodeRow<T> decode;  // null where rows are T as they lie
};

// Functions of the kernels that this file calls, which kernel/kernels.hpp defines.

/// Whole packets of so many features are multiplied from where they lie.
template <class T>
Index packet_features();
/// Null where rows of E are T as they lie.
template <class T, class E>
DecodeRow<T> decode_function();
/// Null where rows of E are not multiplied from where they lie.
template <class T, class E>
const ByRows<ScoreRows<T>>* score_functions();
template <class T, class E>
const ByRows<AddValues<T>>* add_functions();
template <class T, class E>
WriteRow<T> write_function();

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

template <class T, class O>
constexpr WriteRow<T> write_of() {
  return [](const T* sums, T weight, Index features, std::byte* row) {
    write_scaled(sums, weight, features, reinterpret_cast<O*>(row));
  };
}

template <class T, class E>
RowAccess<T> row_access(Index features) {
  return {row_bytes<E>(features), SideOf<E>::tokens, decode_function<T, E>()};
}

}  // namespace dca::detail
