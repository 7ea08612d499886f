#include "fuzz/operator_calls.hpp"

#include "support/attend_definition.hpp"
#include "support/attend_source_definition.hpp"

namespace dca_fuzz {

template <class E, class O>
void attend_narrow(const dca::DualChunkAttention<float>& attention, dca::TensorView<const E> query,
                   dca::TensorView<const E> key, dca::TensorView<const E> value, dca::TensorView<O> out,
                   const dca::CallOptions<float>& options) {
  attention(Eigen::DefaultDevice{}, query, key, value, out, options);
}

#ifdef DCA_FUZZ_ALL
template void attend_narrow(const dca::DualChunkAttention<float>&, dca::TensorView<const Eigen::half>,
                            dca::TensorView<const Eigen::half>, dca::TensorView<const Eigen::half>,
                            dca::TensorView<Eigen::half>, const dca::CallOptions<float>&);
template void attend_narrow(const dca::DualChunkAttention<float>&, dca::TensorView<const Eigen::bfloat16>,
                            dca::TensorView<const Eigen::bfloat16>, dca::TensorView<const Eigen::bfloat16>,
                            dca::TensorView<float>, const dca::CallOptions<float>&);
#endif

}  // namespace dca_fuzz

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca_fuzz::OwnAttention, Eigen::DefaultDevice, float);
#ifdef DCA_FUZZ_ALL
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float,
                                   CacheView<Eigen::half, dca::ChunkOffset, dca::Int8>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float,
                                   CacheView<Eigen::bfloat16, dca::ChunkOffset, dca::Int4>);
#endif

}  // namespace dca_test
