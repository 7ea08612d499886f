#include "scalar_kernels.hpp"

constinit const dca::detail::ScalarKernels<double> dca::detail::double_kernels = scalar_kernels<double>();
