#include "support/attend_source_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float,
                                   CacheView<dca::Int8, dca::ChunkOffset, Eigen::half>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float,
                                   CacheView<dca::Int4, dca::ChunkOffset, Eigen::bfloat16>);

}  // namespace dca_test
