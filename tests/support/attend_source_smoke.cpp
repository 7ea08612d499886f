// Of the operators on caches those that the smoke tests call.
#include "support/attend_source_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float, CacheView<float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float, CacheView<float>);

}  // namespace dca_test
