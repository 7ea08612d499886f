#include "support/attend_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca::CausalAttention, Eigen::DefaultDevice, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::CausalAttention, Eigen::DefaultDevice, double);

}  // namespace dca_test
