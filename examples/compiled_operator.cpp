// The compiled operator without Eigen: a prompt in one call, then a token from a cache, on two threads.
#include <cmath>
#include <cstdio>
#include <dca/compiled.hpp>
#include <exception>
#include <vector>

namespace dc = dca::compiled;

int main() try {
  // A model with 8 query heads on 2 key/value heads of 64, trained on windows of 128 tokens, reads 1000.
  constexpr dca::Index tokens = 1000, heads = 8, kv_heads = 2, head_dim = 64;
  std::vector<float> q(tokens * heads * head_dim), k(tokens * kv_heads * head_dim), v(k.size(), 1.0f), out(q.size());
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i % 7) - 3;
  for (std::size_t i = 0; i < k.size(); ++i) k[i] = static_cast<float>(i % 5) - 2;
  const auto keys = dc::contiguous(k.data(), {tokens, kv_heads, head_dim});
  const auto values = dc::contiguous(v.data(), {tokens, kv_heads, head_dim});

  const dc::Attention attention({.chunks = {.chunk_size = 96, .local_window = 16}, .rope = {.rotary_dim = 64}});
  const dc::Threads threads(2);
  attention(threads.executor(), dc::contiguous(q.data(), {tokens, heads, head_dim}), keys, values,
            dc::contiguous(out.data(), {tokens, heads, head_dim}));

  auto cache = attention.make_cache({.key = dc::DType::bfloat16},
                                    {.kv_heads = kv_heads, .head_dim = head_dim, .v_head_dim = head_dim}, 1,
                                    {.tokens = 4096});
  cache.append(threads.executor(), 0, keys, values);
  std::vector<float> newest(heads * head_dim);
  attention(threads.executor(), dc::contiguous(q.data(), {1, heads, head_dim}), cache,
            dc::contiguous(newest.data(), {1, heads, head_dim}));

  const double mean = static_cast<double>(out.back()), cached = static_cast<double>(newest.back());
  std::printf("dca %s, %s: the mean of ones is %g, and %g from the cache\n", dc::version(),
              dc::kernels_in_use().instruction_set, mean, cached);
  return std::abs(mean - 1) < 1e-5 && std::abs(cached - 1) < 1e-5 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
