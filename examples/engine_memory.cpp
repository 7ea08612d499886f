// An engine's own memory, without a copy and without Eigen tensors: a view is a pointer, a shape and strides.
//
// This engine projects all tokens into one fused buffer, [length, query heads | key heads | value heads, head_dim],
// each token's row padded. It keeps keys and values as [kv_heads, capacity, head_dim], each head's rows padded.
#include <dca/dca.hpp>
#include <iostream>
#include <random>

using dca::Index;
using dca::TensorView;

constexpr Index heads = 8, kv_heads = 2, head_dim = 64;
constexpr Index prompt = 600, capacity = 640;

/// q, k and v of each token side by side, as one product with the fused weights leaves them.
struct FusedProjection {
  static constexpr Index row = (heads + 2 * kv_heads) * head_dim + 32;  // padded
  std::vector<float> memory;

  explicit FusedProjection(Index length) : memory(static_cast<std::size_t>(length * row)) {}

  /// `count` heads from `first_head` on, of `length` tokens from `first_token` on: [length, count, head_dim].
  TensorView<const float> view(Index first_head, Index count, Index first_token, Index length) const {
    return {.data = memory.data() + first_token * row + first_head * head_dim,
            .shape = {length, count, head_dim},
            .strides = {row, head_dim, 1}};
  }
  TensorView<const float> query(Index from, Index length) const { return view(0, heads, from, length); }
  TensorView<const float> key(Index from, Index length) const { return view(heads, kv_heads, from, length); }
  TensorView<const float> value(Index from, Index length) const {
    return view(heads + kv_heads, kv_heads, from, length);
  }
};

/// Keys (unrotated) or values by head: memory is [kv_heads, capacity, head_dim], the view [length, kv_heads, head_dim].
struct HeadMajorCache {
  static constexpr Index row = head_dim + 16;  // padded
  std::vector<float> memory = std::vector<float>(static_cast<std::size_t>(kv_heads * capacity * row));

  TensorView<const float> view(Index length) const {
    return {.data = memory.data(), .shape = {length, kv_heads, head_dim}, .strides = {row, capacity * row, 1}};
  }
  /// Of one token: [kv_heads, head_dim].
  void store(Index position, TensorView<const float> token) {
    for (Index head = 0; head < kv_heads; ++head) {
      std::copy_n(token.entry(head).data, head_dim, memory.begin() + (head * capacity + position) * row);
    }
  }
};

int main() {
  FusedProjection projection(capacity);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& x : projection.memory) x = normal(random);

  const dca::DualChunkAttention<float> attention({
      .chunks = dca::ChunkLayout::from_trained_window(256),
      .rope = dca::RotaryEmbedding(dca::plain_frequencies(head_dim, 10000.0)),
  });
  const Eigen::DefaultDevice device;
  std::vector<float> out(static_cast<std::size_t>(capacity * heads * head_dim));
  const auto outputs = dca::contiguous(out.data(), {capacity, heads, head_dim});

  // Prefill: the prompt, straight from the fused buffer.
  attention(device, projection.query(0, prompt), projection.key(0, prompt), projection.value(0, prompt),
            outputs.slice(0, 0, prompt));

  // Decode: each token enters the engine's cache, and its query looks at all of it.
  HeadMajorCache keys, values;
  dca::Workspace workspace;
  for (Index token = 0; token < capacity; ++token) {
    keys.store(token, projection.key(token, 1).entry(0));
    values.store(token, projection.value(token, 1).entry(0));
    if (token < prompt) continue;  // its output is known
    attention(device, projection.query(token, 1), keys.view(token + 1), values.view(token + 1),
              outputs.slice(0, token, 1), {.workspace = &workspace});
  }

  // The same in one call over the whole text.
  std::vector<float> whole(out.size());
  attention(device, projection.query(0, capacity), projection.key(0, capacity), projection.value(0, capacity),
            dca::contiguous(whole.data(), {capacity, heads, head_dim}));
  float difference = 0;
  for (std::size_t k = 0; k < out.size(); ++k) difference = std::max(difference, std::abs(out[k] - whole[k]));
  std::cout << prompt << " tokens read, " << capacity - prompt << " decoded; off one call by at most " << difference
            << '\n';
  return difference < 1e-5f ? 0 : 1;
}
