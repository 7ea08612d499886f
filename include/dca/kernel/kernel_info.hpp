// What kernels are compiled for.
#pragma once

#include "dca/instruction_set/kernel_table.hpp"
#include "dca/kv/small_integers.hpp"

namespace dca {
#if defined(DCA_COMPILED_KERNELS)

/// The instruction set, packet sizes and register tiles of the kernels of dca::kernels that this processor uses. Throws
/// std::invalid_argument where DCA_INSTRUCTION_SET names others.
inline KernelInfo kernel_info() { return detail::kernels().info; }

#else

/// The instruction set, packet sizes and register tiles of the kernels of this translation unit: each may be compiled
/// for another one, hence the internal linkage. "none" here means that no -march was given or Eigen was told not to.
[[maybe_unused]] static constexpr KernelInfo kernel_info() {
  const auto tile = [](int size) {
    return TileShape{detail::register_tile.rows, detail::register_tile.vectors * size};
  };
  return {
#if defined(EIGEN_VECTORIZE_AVX512) && defined(__AVX512VNNI__)
    .instruction_set = "AVX-512 + VNNI",
#elif defined(EIGEN_VECTORIZE_AVX512)
    .instruction_set = "AVX-512",
#elif defined(EIGEN_VECTORIZE_AVX2) && defined(EIGEN_VECTORIZE_FMA)
    .instruction_set = "AVX2 + FMA",
#elif defined(EIGEN_VECTORIZE_AVX)
    .instruction_set = "AVX",
#elif defined(EIGEN_VECTORIZE_SSE4_2)
    .instruction_set = "SSE4.2",
#elif defined(EIGEN_VECTORIZE_SSE2)
    .instruction_set = "SSE2",
#elif defined(EIGEN_VECTORIZE_SVE)
    .instruction_set = "SVE",
#elif defined(EIGEN_VECTORIZE_NEON)
    .instruction_set = "NEON",
#elif defined(EIGEN_VECTORIZE_VSX) || defined(EIGEN_VECTORIZE_ALTIVEC)
    .instruction_set = "AltiVec/VSX",
#else
    .instruction_set = "none",
#endif
    .float_packet_size = detail::packet_size<float>, .double_packet_size = detail::packet_size<double>,
    .float_register_tile = tile(detail::packet_size<float>), .double_register_tile = tile(detail::packet_size<double>),
    .reads_half = detail::LoadsPackets<float, Eigen::half>,
    .reads_bfloat16 = detail::LoadsPackets<float, Eigen::bfloat16>, .reads_int8 = detail::LoadsPackets<float, Int8>,
    .reads_int4 = detail::LoadsPackets<float, Int4>,
  };
}

#endif
}  // namespace dca
