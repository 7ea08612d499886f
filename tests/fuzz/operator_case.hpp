// A problem for the operator, from the bytes of an input.
#pragma once

#include <optional>

#include "fuzz/bytes.hpp"
#include "support/problem.hpp"

namespace dca_fuzz {

using dca::Index;
using dca_test::Array;
using dca_test::Sizes;

/// What all operators and sources have in common.
struct Case {
  Sizes sizes{};
  std::optional<Index> q_offset{};
  dca::ChunkConfig chunks{1, 0};
  Index rotary_dim = 0;
  double theta = 1e4, attention_factor = 1;
  bool interleaved = false;
  std::optional<double> softmax_scale{}, logit_softcap{};
  double query_gain = 1, value_gain = 1;
  std::vector<double> sinks{};  // [heads] or empty
  std::uint64_t seed = 0;
  int poisons = 0;  // numbers that are replaced by NaN

  dca_test::Ropes ropes() const { return dca_test::make_ropes(rotary_dim, theta, attention_factor, interleaved); }
  std::string text() const {
    const auto number = [](const std::optional<double>& x) { return x ? std::to_string(*x) : std::string("none"); };
    const Sizes& s = sizes;
    std::string all;
    for (const Index size : {s.batch, s.q_len, s.kv_len, s.heads, s.kv_heads, s.head_dim, s.v_head_dim}) {
      all += std::to_string(size) + " ";
    }
    return "batch, q_len, kv_len, heads, kv_heads, head_dim, v_head_dim " + all + "chunks " +
           std::to_string(chunks.chunk_size) + " " + std::to_string(chunks.local_window) + " q_offset " +
           (q_offset ? std::to_string(*q_offset) : "none") + " rotary_dim " + std::to_string(rotary_dim) +
           (interleaved ? " interleaved" : "") + " attention_factor " + std::to_string(attention_factor) + " scale " +
           number(softmax_scale) + " cap " + number(logit_softcap) + " gains " + std::to_string(query_gain) + " " +
           std::to_string(value_gain) + " sinks " + std::to_string(sinks.size()) + " NaN " + std::to_string(poisons);
  }
  Index first_position(Index q_len, Index kv_len) const { return q_offset.value_or(kv_len - q_len); }
};

/// The settings of an operator of a composition with this layout.
template <class Layout>
dca::AttentionConfig<Layout> config_of(const Case& c, Layout layout) {
  return {
      .chunks = layout, .rope = c.ropes().library, .softmax_scale = c.softmax_scale, .logit_softcap = c.logit_softcap};
}

/// A length in [least, most] of tokens: near one where the kernels cut, or any small one.
inline Index length_of_tokens(Bytes& bytes, Index least, Index most) {
  const Index edge = bytes.pick<Index>({0, 0, 0, 17, 128, 256, 512, 640, 1024, 1152});
  const Index length = edge == 0 ? bytes.integer(0, 48) : edge + bytes.integer(-2, 2);
  return std::clamp(length, least, most);
}

inline dca::ChunkConfig chunk_config(Bytes& bytes) {
  const Index edge = bytes.pick<Index>({0, 0, 0, 90, 128, 300, 512, 1024});
  const Index size = edge == 0 ? bytes.integer(1, 64) : edge + bytes.integer(-2, 2);
  switch (bytes.integer(0, 3)) {
    case 0:
      return {size, 0};
    case 1:
      return {size, size - 1};
    case 2:
      return {size, size / 6};
    default:
      return {size, bytes.integer(0, size - 1)};
  }
}

inline Index feature_count(Bytes& bytes) { return bytes.pick<Index>({16, 1, 2, 3, 8, 15, 17, 24, 32, 33, 64, 128}); }

/// q_len for kv_len tokens: one, a few, or many, few enough for the reference.
inline Index query_count(Bytes& bytes, const Sizes& sizes) {
  constexpr Index most_products = Index{1} << 21;
  const Index row = sizes.batch * sizes.heads * sizes.kv_len * (sizes.head_dim + sizes.v_head_dim + 16);
  const Index affordable = std::max<Index>(1, most_products / std::max<Index>(row, 1));
  const Index wanted = bytes.pick<Index>({1, 1, 2, 5, 8, 24, 25, 40, 64, 65, -1, -2});
  const Index count = wanted > 0 ? wanted : wanted == -1 ? length_of_tokens(bytes, 0, 1200) : sizes.kv_len;
  return std::min({count, affordable, sizes.kv_len});
}

/// Everything but the tokens.
inline Case case_of(Bytes& bytes) {
  Case c;
  c.seed = bytes.word();
  c.sizes.kv_heads = bytes.pick<Index>({1, 1, 1, 2, 3});
  c.sizes.heads = c.sizes.kv_heads * bytes.pick<Index>({1, 2, 3, 4, 8, 17});
  c.sizes.head_dim = feature_count(bytes);
  c.sizes.v_head_dim = bytes.one_in(3) ? feature_count(bytes) : c.sizes.head_dim;
  c.chunks = chunk_config(bytes);
  c.rotary_dim = bytes.one_in(3) ? 2 * bytes.integer(0, c.sizes.head_dim / 2) : c.sizes.head_dim / 2 * 2;
  c.theta = bytes.pick<double>({1e4, 1e4, 5e5, 2.0});
  c.interleaved = bytes.one_in(3);
  if (bytes.one_in(4)) c.attention_factor = bytes.pick<double>({1.2, 0.5, 1.0});
  if (bytes.one_in(3)) c.softmax_scale = bytes.pick<double>({0.1, 0.5, 1.0, -0.3});
  if (bytes.one_in(3)) c.logit_softcap = bytes.pick<double>({5.0, 0.5, 30.0, 1e4, 1e12});
  c.query_gain = bytes.pick<double>({1.0, 1.0, 0.0, 1e-3, 0.3, 3.0});
  c.value_gain = bytes.pick<double>({1.0, 1.0, 1.0, 1.0, 0.0, 1e-12, 1e4});
  dca_test::Random random(c.seed);
  if (bytes.one_in(3)) {
    c.sinks = random.normal<double>(c.sizes.heads, 4.0);
    for (double& sink : c.sinks) sink = static_cast<double>(static_cast<float>(sink));
    if (bytes.one_in(4)) c.sinks[0] = bytes.pick<double>({-std::numeric_limits<double>::infinity(), 80.0, -80.0});
  }
  c.poisons = bytes.one_in(6) ? static_cast<int>(bytes.integer(1, 3)) : 0;
  return c;
}

/// Queries, keys and values of one call, as the library gets them: rounded to E.
struct Numbers {
  Array query, key, value;
};

template <class E>
Numbers numbers_of(Bytes& bytes, const Case& c, const Sizes& s) {
  dca_test::Random random(c.seed + 1);
  const auto make = [&](Index length, Index heads, Index features, double gain) {
    Array x({s.batch, length, heads, features});
    x.data = random.normal<double>(static_cast<Index>(x.data.size()), gain);
    return x;
  };
  Numbers all{make(s.q_len, s.heads, s.head_dim, c.query_gain), make(s.kv_len, s.kv_heads, s.head_dim, 1.0),
              make(s.kv_len, s.kv_heads, s.v_head_dim, c.value_gain)};
  for (int k = 0; k < c.poisons; ++k) {
    Array& x = *bytes.pick<Array*>({&all.key, &all.value, &all.query});
    if (x.data.empty()) continue;
    const auto last = static_cast<Index>(x.data.size()) - 1;
    x.data[static_cast<std::size_t>(bytes.integer(0, last))] = std::numeric_limits<double>::quiet_NaN();
  }
  for (Array* const x : {&all.query, &all.key, &all.value}) {
    for (double& value : x->data) value = static_cast<double>(static_cast<E>(value));
  }
  return all;
}

}  // namespace dca_fuzz
