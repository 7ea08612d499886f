#define EIGEN_USE_THREADS
#include <dca/dca.hpp>

float attend_with_threads(float constant) {
  Eigen::Tensor<float, 3, Eigen::RowMajor> q(20, 2, 4), k(20, 1, 4), v(20, 1, 4), out(20, 2, 4);
  q.setRandom();
  k.setRandom();
  v.setConstant(constant);
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  const dca::CausalAttention<float> attention({.rope = dca::RotaryEmbedding(dca::plain_frequencies(4, 10000.0))});
  attention(device, dca::blhd(q), dca::blhd(k), dca::blhd(v), dca::blhd(out));
  return out(19, 1, 3);
}
