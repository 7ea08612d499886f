// The compiled operator on the problems of the tests, beside the templates.
#pragma once

#include <dca/compiled.hpp>

#include "support/selecting.hpp"

namespace dca_test::by_value {

namespace compiled = dca::compiled;
using compiled::DType;

inline constexpr dca::ChunkConfig chunks{70, 20};
inline constexpr Index rotary_dim = 24;
inline constexpr dca::Executor alone{};

/// A chunked composition of the library or causal attention, as a template and by name.
template <class T, template <class> class Attention>
struct Pair {
  static Attention<T> templated(std::optional<double> scale = {}, std::optional<double> cap = {}) {
    dca::AttentionConfig<typename Attention<T>::Layout> config{
        .chunks = layout(), .rope = make_ropes(rotary_dim).library, .softmax_scale = scale, .logit_softcap = cap};
    return Attention<T>(config);
  }
  static typename Attention<T>::Layout layout() {
    if constexpr (std::is_same_v<typename Attention<T>::Layout, dca::ChunkLayout>) {
      return chunks;
    } else {
      return {};
    }
  }
};

inline compiled::AttentionConfig config_of(compiled::Composition composition, DType scalar) {
  compiled::AttentionConfig config{.composition = composition, .scalar = scalar, .chunks = chunks};
  config.rope.rotary_dim = rotary_dim;
  return config;
}

template <class T>
compiled::Attention make_compiled(compiled::Composition composition = compiled::Composition::dual_chunk) {
  return compiled::Attention(config_of(composition, compiled::DTypeOf<T>::value));
}

template <class T>
dca::DualChunkAttention<T> make_template() {
  return Pair<T, dca::DualChunkAttention>::templated();
}

template <class T>
Outputs<T> run_compiled(const compiled::Attention& attention, const Inputs<T>& in, compiled::CallOptions options = {},
                        const dca::Executor& executor = alone) {
  Outputs<T> outputs(in);
  options.lse = outputs.lse_view();
  const Operands<T> x = in.operands();
  attention(executor, x.query, x.key, x.value, outputs.out_view(), options);
  return outputs;
}

/// Queries of a problem on a cache.
template <class T, class Cache>
Outputs<T> run_compiled_on(const compiled::Attention& attention, const Inputs<T>& in, const Cache& cache,
                           compiled::CallOptions options = {}, const dca::Executor& executor = alone) {
  Outputs<T> outputs(in);
  options.lse = outputs.lse_view();
  attention(executor, in.operands().query, cache, outputs.out_view(), options);
  return outputs;
}

template <class T>
Inputs<T> problem(Index batch, Index q_len, Index kv_len, std::uint64_t stream = 0) {
  Random random(stream);
  return Inputs<T>({batch, q_len, kv_len, 4, 2, 32, 32}, random);
}

}  // namespace dca_test::by_value
