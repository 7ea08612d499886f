// What is visible of the kernels of one instruction set: a table, named DCA_KERNELS_OF.
#include "scalar_kernels.hpp"

extern "C" {
extern const dca::detail::Kernels DCA_KERNELS_OF;
constinit const dca::detail::Kernels DCA_KERNELS_OF{dca::kernel_info(), &dca::detail::float_kernels,
                                                    &dca::detail::double_kernels};
}
