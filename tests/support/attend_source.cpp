#include "support/attend_source_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, float, CacheView<float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, Eigen::DefaultDevice, double, CacheView<double>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::CausalAttention, Eigen::DefaultDevice, float,
                                   CacheView<float, dca::AbsolutePosition>);

}  // namespace dca_test
