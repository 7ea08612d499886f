// All but what attend_dual_chunk.cpp has.
#include "support/attend_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca::CausalAttention, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::CausalAttention, double);
DCA_TEST_INSTANTIATE_ATTEND(dca::IntraChunkAttention, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::IntraChunkAttention, double);
DCA_TEST_INSTANTIATE_ATTEND(dca::SuccessiveChunkAttention, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::SuccessiveChunkAttention, double);
DCA_TEST_INSTANTIATE_ATTEND(dca::InterChunkAttention, float);
DCA_TEST_INSTANTIATE_ATTEND(dca::InterChunkAttention, double);

}  // namespace dca_test
