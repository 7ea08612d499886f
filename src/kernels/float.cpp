#include "scalar_kernels.hpp"

constinit const dca::detail::ScalarKernels<float> dca::detail::float_kernels = scalar_kernels<float>();
