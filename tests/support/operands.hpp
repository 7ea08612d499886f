// The tensors that a call reads.
#pragma once

#include <dca/dca.hpp>

namespace dca_test {

template <class T>
struct Operands {
  dca::TensorView<const T> query, key, value;
};

}  // namespace dca_test
