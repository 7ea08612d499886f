// The kernels that this file calls: its own, or those of dca::kernels, which are compiled for several instruction sets.
#pragma once

#include "dca/kernel/call/attention_call.hpp"
#include "dca/kernel/call/selection_ref.hpp"
#include "dca/kernel/call/source_ref.hpp"

#if !defined(DCA_COMPILED_KERNELS)
#include "dca/kernel/machine/row_tables.hpp"
#include "dca/kernel/tile/attend.hpp"
#endif

namespace dca::detail {

#if defined(DCA_COMPILED_KERNELS)

template <class T>
Index packet_features() {
  return kernels_of<T>().packet_features;
}

template <class T, class E>
const ScoreFunctions<T>* score_functions() {
  if constexpr (storage_index<E> >= 0) return kernels_of<T>().score[storage_index<E>];
  return nullptr;  // compiled apart from E, kernels let it decode
}

template <class T, class E>
const ByRows<AddValues<T>>* add_functions() {
  if constexpr (storage_index<E> >= 0) return kernels_of<T>().add[storage_index<E>];
  return nullptr;
}

template <class T, class O>
WriteRow<T> write_function() {
  if constexpr (is_known_number<O>) {
    return kernels_of<T>().write[storage_index<O>];
  } else {
    return write_of<T, O>();
  }
}

/// Attention of a call whose arguments are checked.
template <class T>
void attend(const DeviceRef& device, const AttentionParams& params, const SourceRef<T>& source,
            const AttentionCall<T>& call, Workspace* workspace) {
  kernels_of<T>().attend(device, params, source, call, workspace);
}

/// Likewise, where queries choose among the keys of a part.
template <class T>
void attend_selected(const DeviceRef& device, const AttentionParams& params, const SourceRef<T>& source,
                     const AttentionCall<T>& call, Workspace* workspace, const SelectionRef<T>& selection, Index part,
                     std::vector<ChosenBlocks>* chosen) {
  kernels_of<T>().attend_selected(device, params, source, call, workspace, selection, part, chosen);
}

#else

template <class T>
Index packet_features() {
  return packet_size<T>;
}

template <class T, class E>
const ScoreFunctions<T>* score_functions() {
  return score_table_of<T, E>();
}

template <class T, class E>
const ByRows<AddValues<T>>* add_functions() {
  return add_table_of<T, E>();
}

template <class T, class O>
WriteRow<T> write_function() {
  return write_of<T, O>();
}

#endif

}  // namespace dca::detail
