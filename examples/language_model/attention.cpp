#include "attention.hpp"

#include "error.hpp"

namespace dca_lm {
namespace {

dca::RotaryEmbedding make_rope(const AttentionChoice& choice, const ModelRope& rope) {
  dca::RopeFrequencies frequencies = dca::plain_frequencies(rope.rotary_dim, rope.theta);
  if (choice.name == "linear") {
    frequencies = dca::linear_frequencies(rope.rotary_dim, rope.theta, choice.rope_scale);
  } else if (choice.name == "ntk") {
    frequencies = dca::ntk_frequencies(rope.rotary_dim, rope.theta, choice.rope_scale);
  } else if (choice.name == "yarn") {
    frequencies = dca::yarn_frequencies(rope.rotary_dim, rope.theta,
                                        {.factor = choice.rope_scale, .trained_window = rope.trained_window});
  } else if (choice.name != "dca" && choice.name != "rope") {
    throw Error("--attention " + choice.name + "; must be dca, rope, linear, ntk or yarn");
  }
  for (std::size_t m = 0; m < rope.frequency_divisors.size(); ++m) {
    frequencies.inv_freq[m] /= rope.frequency_divisors[m];
  }
  return dca::RotaryEmbedding(std::move(frequencies), dca::RopePairing::interleaved);
}

}  // namespace

Attention::Attention(const AttentionChoice& choice, const ModelRope& rope) : operator_(make(choice, rope)) {}

Attention::Operator Attention::make(const AttentionChoice& choice, const ModelRope& rope) {
  if (choice.name != "dca") return dca::CausalAttention<float>({.rope = make_rope(choice, rope)});
  const dca::ChunkConfig chunks{.chunk_size = choice.chunk_size, .local_window = choice.local_window};
  return dca::DualChunkAttention<float>({.chunks = chunks, .rope = make_rope(choice, rope)});
}

void Attention::operator()(const Eigen::ThreadPoolDevice& device, dca::TensorView<const float> q,
                           dca::TensorView<const float> k, dca::TensorView<const float> v,
                           dca::TensorView<float> out) const {
  std::visit([&](const auto& attend) { attend(device, q, k, v, out); }, operator_);
}

}  // namespace dca_lm
