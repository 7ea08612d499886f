#include <dca/kernel/explicit.hpp>
DCA_KERNELS(, float);
DCA_ROW_KERNELS(, float, float);  // rows that are stored as float
DCA_HALF_ROW_KERNELS();
DCA_SMALL_ROW_KERNELS();  // bfloat16, Int8 and Int4
DCA_KERNELS(, double);
DCA_ROW_KERNELS(, double, double);
