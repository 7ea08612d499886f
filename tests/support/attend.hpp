// Operators compiled once, for tests to link: each costs a fifth of a second to half a second of compile time, in every
// file of tests that would call it.
#pragma once

#include <dca/dca.hpp>

namespace dca_test {

/// The tensors that a call reads.
template <class T>
struct Operands {
  dca::TensorView<const T> query, key, value;
};

/// Calls `attention` on `device`. Defined for the library's operators of float and double, on Eigen::DefaultDevice and
/// Eigen::ThreadPoolDevice, in attend.cpp and attend_dual_chunk.cpp; for others include attend_definition.hpp.
template <class Attention, class Device, class T>
void attend(const Attention& attention, const Device& device, const Operands<T>& operands, dca::TensorView<T> out,
            const dca::CallOptions<T>& options = {});

}  // namespace dca_test
