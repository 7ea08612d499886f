// The pairs of features that turn together.
#pragma once

#include <vector>

#include "dca/rope/rotary_embedding.hpp"

namespace dca::detail {

/// Two features of a row in the model's order, where they are in rows of placed keys, and how they turn.
struct FeaturePair {
  Index first, second;
  Index first_placed, second_placed;
  double frequency;
};

/// All features, in pairs. Those beyond rotary_dim, which do not turn, are pairs with frequency 0; the last one may be
/// alone, as first and second.
inline std::vector<FeaturePair> feature_pairs(const RotaryEmbedding& rope, Index head_dim) {
  std::vector<FeaturePair> found;
  const Index pairs = rope.rotary_dim() / 2;
  const bool interleaved = rope.pairing() == RopePairing::interleaved;
  for (Index m = 0; m < pairs; ++m) {
    const Index first = interleaved ? 2 * m : m, second = interleaved ? 2 * m + 1 : m + pairs;
    found.push_back({first, second, m, m + pairs, rope.inv_freq()[static_cast<std::size_t>(m)]});
  }
  for (Index d = 2 * pairs; d < head_dim; d += 2) {
    const Index next = std::min(d + 1, head_dim - 1);
    found.push_back({d, next, d, next, 0.0});
  }
  return found;
}

}  // namespace dca::detail
