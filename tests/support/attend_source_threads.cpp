#include "support/attend_source_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float, CacheView<float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::ThreadPoolDevice, double, CacheView<double>);

}  // namespace dca_test
