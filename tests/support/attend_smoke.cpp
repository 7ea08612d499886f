// Of the operators on tensors those that the smoke tests call.
#include "support/attend_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, Eigen::DefaultDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float);

}  // namespace dca_test
