// All but what attend_dual_chunk.cpp has.
#include "support/attend_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, Eigen::ThreadPoolDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, Eigen::ThreadPoolDevice, double);
DCA_TEST_INSTANTIATE_ATTEND(dca::CausalAttention, Eigen::DefaultDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::CausalAttention, Eigen::DefaultDevice, double);
DCA_TEST_INSTANTIATE_ATTEND(dca::CausalAttention, Eigen::ThreadPoolDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::CausalAttention, Eigen::ThreadPoolDevice, double);
DCA_TEST_INSTANTIATE_ATTEND(dca::IntraChunkAttention, Eigen::DefaultDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::IntraChunkAttention, Eigen::DefaultDevice, double);
DCA_TEST_INSTANTIATE_ATTEND(dca::SuccessiveChunkAttention, Eigen::DefaultDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::SuccessiveChunkAttention, Eigen::DefaultDevice, double);
DCA_TEST_INSTANTIATE_ATTEND(dca::InterChunkAttention, Eigen::DefaultDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::InterChunkAttention, Eigen::DefaultDevice, double);

}  // namespace dca_test
