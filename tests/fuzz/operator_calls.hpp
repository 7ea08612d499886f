// Operators that only the fuzz target calls, compiled once for it. Each costs ten seconds of compile time, so that most
// are there only where DCA_FUZZ_ALL is defined: in builds for fuzzing.
#pragma once

#include "fuzz/own_parts.hpp"
#include "support/attend_source.hpp"

namespace dca_fuzz {

#ifdef DCA_FUZZ_ALL
inline constexpr bool compiles_all = true;
#else
inline constexpr bool compiles_all = false;
#endif

/// Dual Chunk Attention in float on tensors of E, results of O, with all: half to half, bfloat16 to float.
template <class E, class O>
void attend_narrow(const dca::DualChunkAttention<float>& attention, dca::TensorView<const E> query,
                   dca::TensorView<const E> key, dca::TensorView<const E> value, dca::TensorView<O> out,
                   const dca::CallOptions<float>& options);

/// A call with a policy: TopBlocks for DualChunkAttention on tensors; with all, FirstAndRecent for it there, TopBlocks
/// for it on caches of float, and for OwnAttention on tensors.
template <class Attention, class Source, class Selection>
void attend_selecting(const Attention& attention, dca::TensorView<const float> query, const Source& source,
                      dca::TensorView<float> out, const dca::CallOptions<float>& options, const Selection& selection);

using dca_test::CacheView;
using DenseFloats = dca::DenseKeyValues<float, float>;

}  // namespace dca_fuzz
