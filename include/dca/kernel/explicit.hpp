// Kernels that a program compiles once, and not in each of its files.
#pragma once

#include "dca/kernel/tile/run_call.hpp"

/// Instantiates the kernels of scalar T, or, with `extern` as Extern, declares that another file does. At namespace
/// scope.
#define DCA_KERNELS(Extern, T)                                                                                      \
  Extern template void dca::detail::run_call<T>(const DeviceRef&, const AttentionParams&, const SourceRef<T>&,      \
                                                const AttentionCall<T>&, Workspace*);                               \
  Extern template void dca::detail::run_selecting_call<T>(                                                          \
      const DeviceRef&, const AttentionParams&, const SourceRef<T>&, const AttentionCall<T>&, Workspace*,           \
      const SelectionRef<T>&, Index, std::vector<ChosenBlocks>*)

/// Likewise the products of T with rows stored as E.
#define DCA_ROW_KERNELS(Extern, T, E)                                     \
  DCA_ROW_KERNELS_OF(Extern, T, E, 1); DCA_ROW_KERNELS_OF(Extern, T, E, 2); \
  DCA_ROW_KERNELS_OF(Extern, T, E, 3); DCA_ROW_KERNELS_OF(Extern, T, E, 4)
#define DCA_ROW_KERNELS_OF(Extern, T, E, Rows)                                                            \
  Extern template void dca::detail::score_rows<T, E, Rows>(const RowStream&, Index, const T*, T*, Index); \
  Extern template void dca::detail::add_values<T, E, Rows>(const RowStream&, Index, const T*, Index, T*)

/// Those with rows of small numbers, where the processor reads them.
#if DCA_WIDENS
#define DCA_SMALL_ROW_KERNELS(Extern)               \
  DCA_ROW_KERNELS(Extern, float, Eigen::bfloat16);  \
  DCA_ROW_KERNELS(Extern, float, dca::Int8);        \
  DCA_ROW_KERNELS(Extern, float, dca::Int4)
#else
#define DCA_SMALL_ROW_KERNELS(Extern) static_assert(true)
#endif
#if DCA_WIDENS_HALF
#define DCA_HALF_ROW_KERNELS(Extern) DCA_ROW_KERNELS(Extern, float, Eigen::half)
#else
#define DCA_HALF_ROW_KERNELS(Extern) static_assert(true)
#endif

// Defined by whoever compiles them in files of their own.
#if defined(DCA_EXTERN_KERNELS)
DCA_KERNELS(extern, float);
DCA_KERNELS(extern, double);
DCA_ROW_KERNELS(extern, float, float);
DCA_ROW_KERNELS(extern, double, double);
DCA_HALF_ROW_KERNELS(extern);
DCA_SMALL_ROW_KERNELS(extern);
#endif
