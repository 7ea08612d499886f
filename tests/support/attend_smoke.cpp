// Of the operators those that the smoke tests call.
#include "support/attend_definition.hpp"
#include "support/attend_source_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, Eigen::DefaultDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float, CacheView<float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float, CacheView<float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float,
                                   dca::RaggedKeyValues<const float, const float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float,
                                   dca::RaggedKeyValues<const float, const float>);

}  // namespace dca_test
