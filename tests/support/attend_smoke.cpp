// Of the operators those that the smoke tests call.
#include "support/attend_definition.hpp"
#include "support/attend_source_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca::DualChunkAttention, float);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, float, CacheView<float>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, float, dca::RaggedKeyValues<const float, const float>);

}  // namespace dca_test
