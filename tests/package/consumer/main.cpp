// A user's program: this unit runs attention on the calling thread, the other one on a pool.
#include <cmath>
#include <cstdio>
#include <dca/dca.hpp>

float attend_with_threads(float constant);

float attend(float constant) {
  Eigen::Tensor<float, 3, Eigen::RowMajor> q(20, 2, 4), k(20, 1, 4), v(20, 1, 4), out(20, 2, 4);
  q.setRandom();
  k.setRandom();
  v.setConstant(constant);
  const dca::DualChunkAttention<float> attention({
      .chunks = dca::ChunkConfig{.chunk_size = 6, .local_window = 2},
      .rope = dca::RotaryEmbedding(dca::plain_frequencies(4, 10000.0)),
  });
  attention(Eigen::DefaultDevice{}, dca::blhd(q), dca::blhd(k), dca::blhd(v), dca::blhd(out));
  return out(19, 1, 3);
}

int main() {
  const float alone = attend(3.0f), together = attend_with_threads(3.0f);
  std::printf("%s: %g and %g, both must be 3\n", dca::kernel_info().instruction_set, static_cast<double>(alone),
              static_cast<double>(together));
  return std::abs(alone - 3.0f) < 1e-5f && std::abs(together - 3.0f) < 1e-5f ? 0 : 1;
}
