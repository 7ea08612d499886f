#include "golden_runner/cached_paths_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_CACHED_PATHS(float, dca::Int8);
DCA_TEST_INSTANTIATE_CACHED_PATHS(double, dca::Int8);

}  // namespace dca_test
