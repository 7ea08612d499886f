// Rotation of rows by this file's instruction set, or by the compiled kernels'.
#pragma once

#include "dca/instruction_set/kernel_table.hpp"
#include "dca/packet/rotation.hpp"

namespace dca {

/// Which features turn together: half: m with m + rotary_dim / 2 (Hugging Face weights); interleaved: 2m with 2m + 1
/// (GGUF Llama weights).
enum class RopePairing { half, interleaved };

namespace detail {

/// As add_turns.
template <class T>
void sum_of_turns(const double* angle, const Turn& a, const Turn& b, T* cosine, T* sine) {
#if defined(DCA_COMPILED_KERNELS)
  kernels_of<T>().add_turns(angle, a, b, cosine, sine);
#else
  add_turns(angle, a, b, cosine, sine);
#endif
}

/// The pairs of a row x, turned; those of y have the first features of all pairs in front.
template <class T, class X>
void turn_row(RopePairing pairing, const X* x, Index pairs, const T* cosine, const T* sine, T* y) {
#if defined(DCA_COMPILED_KERNELS)
  if constexpr (is_known_number<X>) return kernels_of<T>().turn[storage_index<X>](pairing, x, pairs, cosine, sine, y);
#endif
  if (pairing == RopePairing::half) {
    turn_pairs<1, 1>(x, pairs, cosine, sine, y, pairs, pairs);
  } else {
    turn_pairs<2, 1>(x, 1, cosine, sine, y, pairs, pairs);
  }
}

/// Those of x in their places.
template <class T, class X>
void turn_in_place(RopePairing pairing, X* x, Index pairs, const T* cosine, const T* sine) {
#if defined(DCA_COMPILED_KERNELS)
  if constexpr (is_known_number<X>)
    return kernels_of<T>().turn_in_place[storage_index<X>](pairing, x, pairs, cosine, sine);
#endif
  if (pairing == RopePairing::half) {
    turn_pairs<1, 1>(x, pairs, cosine, sine, x, pairs, pairs);
  } else {
    turn_pairs<2, 2>(x, 1, cosine, sine, x, 1, pairs);
  }
}

}  // namespace detail
}  // namespace dca
