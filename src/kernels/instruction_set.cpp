// What is visible of the kernels of one instruction set: a table, named DCA_KERNELS_OF.
#include "scalar_kernels.hpp"

namespace dca::detail {
namespace {

template <class X, class... E>
constexpr void set_encoders(EncodeRow (&encode)[number_count][storage_count]) {
  ((encode[storage_index<X>][storage_index<E>] = encode_of<X, E>()), ...);
}

constexpr Kernels all_kernels() {
  Kernels table{kernel_info(), {}, &float_kernels, &double_kernels};
  const auto set = [&]<class X>(std::type_identity<X>) {
    set_encoders<X, float, double, Eigen::half, Eigen::bfloat16, Int8, Int4>(table.encode);
  };
  set(std::type_identity<float>{});
  set(std::type_identity<double>{});
  set(std::type_identity<Eigen::half>{});
  set(std::type_identity<Eigen::bfloat16>{});
  return table;
}

}  // namespace
}  // namespace dca::detail

extern "C" {
extern const dca::detail::Kernels DCA_KERNELS_OF;
constinit const dca::detail::Kernels DCA_KERNELS_OF = dca::detail::all_kernels();
}
