// The body of attend_source, for the files that instantiate it.
#pragma once

#include "support/attend_source.hpp"

namespace dca_test {

template <class Attention, class Device, class Source, class T>
void attend_source(const Attention& attention, const Device& device, dca::TensorView<const T> query,
                   const Source& source, dca::TensorView<T> out, const dca::CallOptions<T>& options) {
  attention(device, query, source, out, options);
}

/// Instantiated once: attend_source for one operator of T on one device, and the source.
#define DCA_TEST_INSTANTIATE_ATTEND_SOURCE(Attention, Device, T, ...)                                           \
  template void attend_source(const Attention<T>&, const Device&, dca::TensorView<const T>, const __VA_ARGS__&, \
                              dca::TensorView<T>, const dca::CallOptions<T>&)

}  // namespace dca_test
