// Attention by definition, in double, one query row at a time. Shares no code and no idea with the kernels: it includes
// nothing of the library and builds every (query, key) logit from explicit positions.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "support/array.hpp"

namespace dca_test::reference {

/// Turns the leading 2 * inv_freq.size() features; attention_factor multiplies the rotated ones of queries and keys.
struct Rope {
  std::vector<double> inv_freq;
  double attention_factor = 1.0;
  bool interleaved = false;
};

/// theta^(-2m / rotary_dim) / position_scale.
std::vector<double> inverse_frequencies(std::int64_t rotary_dim, double theta, double position_scale = 1.0);

/// Rotary positions of a query and a key that it sees.
struct Positions {
  std::int64_t query;
  std::int64_t key;
};

/// Positions for the query and the key at absolute positions i and j, both from 0; nothing where i does not see j.
using PositionMatrix = std::function<std::optional<Positions>(std::int64_t i, std::int64_t j)>;

PositionMatrix causal();
PositionMatrix dual_chunk(std::int64_t chunk_size, std::int64_t local_window);

struct Options {
  std::int64_t q_offset = 0;
  double softmax_scale = 0.0;  // 0: 1 / sqrt(head_dim)
  double logit_softcap = 0.0;  // 0: none
  std::vector<double> sinks{};  // [heads] or empty
};

struct Result {
  Array out;  // [batch, q_len, heads, v_head_dim]
  Array lse;  // [batch, q_len, heads], of the keys alone
};

/// One row of features, rotated to `position`.
std::vector<double> rotated(const double* row, std::int64_t features, const Rope& rope, std::int64_t position);

/// q [batch, q_len, heads, head_dim], k [batch, kv_len, kv_heads, head_dim], v [batch, kv_len, kv_heads, v_head_dim].
/// A row without keys gives out 0 and lse -inf.
Result attention(const Array& q, const Array& k, const Array& v, const PositionMatrix& positions, const Rope& rope,
                 const Options& options = {});

/// The largest |softmax_scale * <q, k>| that any rotation could give: norms alone, before a soft-cap.
double largest_logit(const Array& q, const Array& k, const Rope& rope, double softmax_scale);

}  // namespace dca_test::reference
