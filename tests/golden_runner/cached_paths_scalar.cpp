#include "golden_runner/cached_paths_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_CACHED_PATHS(float, float);
DCA_TEST_INSTANTIATE_CACHED_PATHS(double, double);

}  // namespace dca_test
