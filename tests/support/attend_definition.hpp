// The body of attend, for the files that instantiate it.
#pragma once

#include "support/attend.hpp"

namespace dca_test {

template <class Attention, class T>
void attend(const Attention& attention, const AnyDevice& device, const Operands<T>& operands, dca::TensorView<T> out,
            const dca::CallOptions<T>& options) {
  attention(device, operands.query, operands.key, operands.value, out, options);
}

/// Instantiated once: attend for one operator.
#define DCA_TEST_INSTANTIATE_ATTEND(Attention, T)                                                     \
  template void attend(const Attention<T>&, const AnyDevice&, const Operands<T>&, dca::TensorView<T>, \
                       const dca::CallOptions<T>&)

}  // namespace dca_test
