// How kernels multiply and write rows, as values: tables for each scalar and storage.
#pragma once

#include "dca/kv/row_functions.hpp"

namespace dca::detail {

// Functions of the kernels that this file calls, which kernel/kernels.hpp defines.

/// Whole packets of so many features are multiplied from where they lie.
template <class T>
Index packet_features();
/// Null where rows of E are not multiplied from where they lie.
template <class T, class E>
const ScoreFunctions<T>* score_functions();
template <class T, class E>
const ByRows<AddValues<T>>* add_functions();
template <class T, class E>
WriteRow<T> write_function();

/// By this file's own code.
template <class T, class O>
constexpr WriteRow<T> write_of() {
  return [](const T* sums, T weight, Index features, std::byte* row) {
    write_scaled(sums, weight, features, reinterpret_cast<O*>(row));
  };
}

}  // namespace dca::detail
