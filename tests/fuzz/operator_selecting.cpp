#include "fuzz/operator_calls.hpp"

namespace dca_fuzz {

template <class Attention, class Source, class Selection>
void attend_selecting(const Attention& attention, dca::TensorView<const float> query, const Source& source,
                      dca::TensorView<float> out, const dca::CallOptions<float>& options, const Selection& selection) {
  attention(Eigen::DefaultDevice{}, query, source, out, options, selection);
}

#define DCA_FUZZ_INSTANTIATE(Attention, Source, Selection)                                             \
  template void attend_selecting(const Attention<float>&, dca::TensorView<const float>, const Source&, \
                                 dca::TensorView<float>, const dca::CallOptions<float>&, const Selection&)

DCA_FUZZ_INSTANTIATE(dca::DualChunkAttention, DenseFloats, dca::TopBlocks);
#ifdef DCA_FUZZ_ALL
DCA_FUZZ_INSTANTIATE(dca::DualChunkAttention, DenseFloats, dca::FirstAndRecent);
DCA_FUZZ_INSTANTIATE(dca::DualChunkAttention, CacheView<float>, dca::TopBlocks);
DCA_FUZZ_INSTANTIATE(OwnAttention, DenseFloats, dca::TopBlocks);
#endif

}  // namespace dca_fuzz
