#include "golden_runner/cached_paths_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_CACHED_PATHS(float, dca::Int4);
DCA_TEST_INSTANTIATE_CACHED_PATHS(double, dca::Int4);

}  // namespace dca_test
