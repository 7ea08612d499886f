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

Operator Attention::make(const AttentionChoice& choice, const ModelRope& rope) {
  if (choice.name != "dca") return dca::CausalAttention<float>({.rope = make_rope(choice, rope)});
  const dca::ChunkConfig chunks{.chunk_size = choice.chunk_size, .local_window = choice.local_window};
  return dca::DualChunkAttention<float>({.chunks = chunks, .rope = make_rope(choice, rope)});
}

std::unique_ptr<LayerCache> Attention::make_cache(KvType type, dca::CacheShape shape, const CacheSize& size) const {
  if (type == KvType::int4 && shape.head_dim % dca::Int4::group != 0) {
    throw Error("--kv-type int4; it needs a head_dim that is a multiple of " + std::to_string(dca::Int4::group) +
                ", the model's is " + std::to_string(shape.head_dim));
  }
  switch (type) {
    case KvType::float32:
      return make_layer_cache<float>(operator_, shape, size);
    case KvType::half:
      return make_layer_cache<Eigen::half>(operator_, shape, size);
    case KvType::bfloat16:
      return make_layer_cache<Eigen::bfloat16>(operator_, shape, size);
    case KvType::int8:
      return make_layer_cache<dca::Int8>(operator_, shape, size);
    case KvType::int4:
      return make_layer_cache<dca::Int4>(operator_, shape, size);
  }
  throw Error("--kv-type: unknown");
}

KvType kv_type_of(const std::string& name) {
  if (name == "float") return KvType::float32;
  if (name == "half") return KvType::half;
  if (name == "bfloat16") return KvType::bfloat16;
  if (name == "int8") return KvType::int8;
  if (name == "int4") return KvType::int4;
  throw Error("--kv-type " + name + "; must be float, half, bfloat16, int8 or int4");
}

}  // namespace dca_lm
