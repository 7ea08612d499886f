#include "support/attend_source_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, float, CacheView<float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, double, CacheView<double>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::CausalAttention, float, CacheView<float, dca::AbsolutePosition>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, float, CacheView<dca::Int8, dca::ChunkOffset, Eigen::half>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, float,
                                   CacheView<dca::Int4, dca::ChunkOffset, Eigen::bfloat16>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, float, dca::RaggedKeyValues<const float, const float>);

}  // namespace dca_test
