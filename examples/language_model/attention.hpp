// The ways to reach past a model's window that are compared.
#pragma once

#define EIGEN_USE_THREADS
#include <dca/dca.hpp>
#include <string>
#include <variant>

namespace dca_lm {

/// What the command line says. chunk_size and local_window are used by "dca" alone, rope_scale by "linear", "ntk",
/// "yarn".
struct AttentionChoice {
  std::string name = "dca";  // dca, rope, linear, ntk, yarn
  dca::Index chunk_size = 0;
  dca::Index local_window = 0;
  double rope_scale = 1.0;
};

/// The rotary embedding of a model: GGUF's Llama weights are permuted for interleaved pairs. frequency_divisors, one
/// per pair or none, are the file's own scaling.
struct ModelRope {
  dca::Index rotary_dim;
  double theta;
  dca::Index trained_window;
  std::vector<double> frequency_divisors;
};

/// Causal attention of a model, as chosen.
class Attention {
 public:
  /// Throws dca_lm::Error for another name, std::invalid_argument for numbers out of range.
  Attention(const AttentionChoice& choice, const ModelRope& rope);

  /// Queries are the last rows of the keys' sequence: q [q_len, heads, head_dim], k and v [kv_len, kv_heads, head_dim].
  void operator()(const Eigen::ThreadPoolDevice& device, dca::TensorView<const float> q, dca::TensorView<const float> k,
                  dca::TensorView<const float> v, dca::TensorView<float> out) const;

 private:
  using Operator = std::variant<dca::DualChunkAttention<float>, dca::CausalAttention<float>>;
  static Operator make(const AttentionChoice& choice, const ModelRope& rope);

  Operator operator_;
};

}  // namespace dca_lm
