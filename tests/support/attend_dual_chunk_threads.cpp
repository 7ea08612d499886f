#include "support/attend_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, Eigen::ThreadPoolDevice, double);

}  // namespace dca_test
