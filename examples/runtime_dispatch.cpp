// One program for every x86-64 processor. Compiled without -march and linked with dca::kernels, it takes the kernels
// for the processor that it runs on: DCA_INSTRUCTION_SET=sse2, avx2 or avx512 in the environment asks for others.
#include <cmath>
#include <dca/dca.hpp>
#include <iostream>

int main() try {
  const dca::DualChunkAttention<float> attention({
      .chunks = dca::ChunkLayout::from_trained_window(128),
      .rope = dca::RotaryEmbedding(dca::plain_frequencies(64, 10000.0)),
  });
  Eigen::Tensor<float, 3, Eigen::RowMajor> query(500, 1, 64), key(500, 1, 64), value(500, 1, 64), out(500, 1, 64);
  query.setRandom();
  key.setRandom();
  value.setConstant(1.0f);
  attention(Eigen::DefaultDevice{}, dca::blh(query), dca::blh(key), dca::blh(value), dca::blh(out));
  std::cout << "the mean of ones is " << out(499, 0, 63) << " with " << dca::kernel_info().instruction_set << '\n';
  return std::abs(out(499, 0, 63) - 1) < 1e-5f ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
