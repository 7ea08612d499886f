// The body of attend_source, for the files that instantiate it.
#pragma once

#include "support/attend_source.hpp"

namespace dca_test {

template <class Attention, class Source, class T>
void attend_source(const Attention& attention, const AnyDevice& device, dca::TensorView<const T> query,
                   const Source& source, dca::TensorView<T> out, const dca::CallOptions<T>& options) {
  attention(device, query, source, out, options);
}

/// Instantiated once: attend_source for one operator of T, and the source.
#define DCA_TEST_INSTANTIATE_ATTEND_SOURCE(Attention, T, ...)                                                      \
  template void attend_source(const Attention<T>&, const AnyDevice&, dca::TensorView<const T>, const __VA_ARGS__&, \
                              dca::TensorView<T>, const dca::CallOptions<T>&)

}  // namespace dca_test
