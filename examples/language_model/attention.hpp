// The ways to reach past a model's window that are compared.
#pragma once

#include <string>
#include <vector>

#include "layer_cache.hpp"

namespace dca_lm {

/// What the command line says. chunk_size and local_window are used by "dca" alone, rope_scale by "linear", "ntk",
/// "yarn".
struct AttentionChoice {
  std::string name = "dca";  // dca, rope, linear, ntk, yarn
  Index chunk_size = 0;
  Index local_window = 0;
  double rope_scale = 1.0;
};

/// The rotary embedding of a model: GGUF's Llama weights are permuted for interleaved pairs. frequency_divisors, one
/// per pair or none, are the file's own scaling.
struct ModelRope {
  Index rotary_dim;
  double theta;
  Index trained_window;
  std::vector<double> frequency_divisors;
};

/// Causal attention of a model, as chosen.
class Attention {
 public:
  /// Throws dca_lm::Error for another name, std::invalid_argument for numbers out of range.
  Attention(const AttentionChoice& choice, const ModelRope& rope);

  /// A cache of one layer that this attention, which must outlive it, reads. Throws Error where head_dim does not suit
  /// the type, std::bad_alloc.
  std::unique_ptr<LayerCache> make_cache(KvType type, dca::CacheShape shape, const CacheSize& size) const;

 private:
  static Operator make(const AttentionChoice& choice, const ModelRope& rope);

  Operator operator_;
};

}  // namespace dca_lm
