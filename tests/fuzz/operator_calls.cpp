// Operators that no other test calls.
#include "fuzz/own_parts.hpp"
#include "support/attend_definition.hpp"
#include "support/attend_source_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_ATTEND(dca_fuzz::OwnAttention, float);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, float, CacheView<Eigen::half, dca::ChunkOffset, dca::Int8>);
DCA_TEST_INSTANTIATE_ATTEND_SOURCE(dca::DualChunkAttention, float,
                                   CacheView<Eigen::bfloat16, dca::ChunkOffset, dca::Int4>);

}  // namespace dca_test
