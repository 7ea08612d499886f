// Caches and pools that are asked for something wrong: each call refused by name and value, with nothing changed.
#pragma once

#include "support/caches.hpp"
#include "support/catch.hpp"

namespace dca_test::bad_input {

using Attention = dca::DualChunkAttention<float>;

inline constexpr dca::ChunkConfig chunks{6, 2};
inline constexpr dca::CacheShape shape{.kv_heads = 2, .head_dim = 8, .v_head_dim = 8};
inline constexpr Index huge = std::numeric_limits<Index>::max();

inline Attention make_attention() { return make_chunked<Attention>(chunks, 8); }

inline Attention other(dca::ChunkConfig config, double theta = 10000.0, bool interleaved = false) {
  return Attention({.chunks = config, .rope = make_ropes(8, theta, 1.0, interleaved).library});
}

/// Tokens to append: a problem of 16 tokens.
inline const Inputs<float>& tokens() {
  Random random;
  static const Inputs<float> in({2, 1, 16, 4, 2, 8, 8}, random);
  return in;
}

inline dca::TensorView<const float> rows(const dca::Extents& of) {
  static const std::vector<float> memory(4096, 0.5f);
  return dca::contiguous(memory.data(), of);
}

/// What one query after all tokens gets from a view of one sequence.
template <class View>
std::vector<float> result_of(const View& view) {
  std::vector<float> out(4 * 8);
  make_attention()(Eigen::DefaultDevice{}, rows({1, 1, 4, 8}), view, dca::contiguous(out.data(), {1, 1, 4, 8}));
  return out;
}

/// Does something wrong to a cache, and checks the message, and that nothing has changed.
template <class Held, class Spoil>
void check_refused(const std::string& message, const Spoil& spoil) {
  Held held;
  const std::vector<float> before = held.state();
  REQUIRE_FALSE(std::isnan(before.back()));
  CHECK_THROWS_AS(spoil(held), std::invalid_argument);
  CHECK_THROWS_WITH(spoil(held), contains(message));
  CHECK(same_bits(held.state(), before));
}

}  // namespace dca_test::bad_input
