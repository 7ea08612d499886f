#include "golden_runner/cached_paths_definition.hpp"

namespace dca_test {

DCA_TEST_INSTANTIATE_CACHED_PATHS(float, Eigen::half);
DCA_TEST_INSTANTIATE_CACHED_PATHS(double, Eigen::half);

}  // namespace dca_test
