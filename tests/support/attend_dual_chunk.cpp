// By itself: tests of instruction sets compile it for each.
#include "support/attend_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, double);

}  // namespace dca_test
