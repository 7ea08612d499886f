#include "support/attend_source_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float, CacheView<float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, double, CacheView<double>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::CausalAttention, Eigen::DefaultDevice, float,
                                   CacheView<float, dca::AbsolutePosition>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float, CacheView<float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::ThreadPoolDevice, double, CacheView<double>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float,
                                   CacheView<dca::Int8, dca::ChunkOffset, Eigen::half>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float,
                                   CacheView<dca::Int4, dca::ChunkOffset, Eigen::bfloat16>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float,
                                   dca::RaggedKeyValues<const float, const float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float,
                                   dca::RaggedKeyValues<const float, const float>);

}  // namespace dca_test
