#define EIGEN_USE_THREADS
#include <dca/dca.hpp>
#include <iostream>

int main() {
  // A model with 8 query heads on 2 key/value heads of 64, trained on windows of 128 tokens, reads 1000.
  Eigen::Tensor<float, 4, Eigen::RowMajor> q(1, 1000, 8, 64), k(1, 1000, 2, 64), v(1, 1000, 2, 64), out(1, 1000, 8, 64);
  q.setRandom();
  k.setRandom();
  v.setConstant(1.0f);

  const dca::DualChunkAttention<float> attention({
      .chunks = dca::ChunkLayout::from_trained_window(128),
      .rope = dca::RotaryEmbedding(dca::plain_frequencies(64, 10000.0)),
  });
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  attention(device, dca::blhd(q), dca::blhd(k), dca::blhd(v), dca::blhd(out));
  std::cout << "out(0, 999, 7, 63) = " << out(0, 999, 7, 63) << ", compiled for " << dca::kernel_info().instruction_set
            << "\n";  // the mean of ones: 1
}
