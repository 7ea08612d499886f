#include "golden_runner/cached_paths_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_CACHED_PATHS(float, Eigen::bfloat16);
DCA_TEST_INSTANTIATE_CACHED_PATHS(double, Eigen::bfloat16);

}  // namespace dca_test
