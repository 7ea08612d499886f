// Operators compiled once, for tests to link.
#pragma once

#include <dca/dca.hpp>

namespace dca_test {

/// The tensors that a call reads.
template <class T>
struct Operands {
  dca::TensorView<const T> query, key, value;
};

/// Any device, which must outlive it.
using AnyDevice = dca::detail::DeviceRef;

/// Calls `attention` on `device`. Defined for the library's operators of float and double in attend.cpp and
/// attend_dual_chunk.cpp; for others include attend_definition.hpp.
template <class Attention, class T>
void attend(const Attention& attention, const AnyDevice& device, const Operands<T>& operands, dca::TensorView<T> out,
            const dca::CallOptions<T>& options = {});

}  // namespace dca_test
