#include <dca/compiled.hpp>

#include <cstring>
#include <stdexcept>

#include "golden_runner/cached_paths.hpp"

namespace dca_test {
namespace {

namespace compiled = dca::compiled;
using compiled::DType;

template <class T>
DType dtype_of(KeyValueType type) {
  switch (type) {
    case KeyValueType::scalar:
      return compiled::DTypeOf<T>::value;
    case KeyValueType::half:
      return DType::float16;
    case KeyValueType::bfloat16:
      return DType::bfloat16;
    case KeyValueType::int8:
      return DType::int8;
    case KeyValueType::int4:
      return DType::int4;
  }
  throw std::runtime_error("unknown type of keys and values");
}

template <class T>
compiled::Attention make_attention(const GoldenParameters& p) {
  compiled::AttentionConfig config{.scalar = compiled::DTypeOf<T>::value,
                                   .chunks = {.chunk_size = p.chunk_size, .local_window = p.local_window}};
  config.rope = {.rotary_dim = p.rotary_dim,
                 .theta = p.rope_theta,
                 .pairing = p.interleaved ? compiled::RopePairing::interleaved : compiled::RopePairing::half,
                 .scaling = compiled::RopeScaling::linear,
                 .factor = p.position_scale,
                 .attention_factor = p.attention_factor};
  if (p.softmax_scale != 0) config.softmax_scale = p.softmax_scale;
  if (p.logit_softcap != 0) config.logit_softcap = p.logit_softcap;
  return compiled::Attention(config);
}

}  // namespace

template <class T>
std::vector<GoldenOutputs<T>> compiled_path(const GoldenProblem<T>& problem, KeyValueType type,
                                            const GoldenOutputs<T>& templated) {
  const GoldenParameters& p = problem.parameters;
  const compiled::Attention attention = make_attention<T>(p);
  const Operands<T> x = problem.operands();
  const dca::Executor alone{};
  const char* const dense = "dense";
  std::vector<GoldenOutputs<T>> all;
  const auto same = [](const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
  };
  const auto attend = [&](const char* name, const auto& call) {
    GoldenOutputs<T> outputs(problem, name);
    compiled::CallOptions options{.q_offset = p.q_offset,
                                  .lse = dca::contiguous(outputs.lse.data(), problem.lse_shape())};
    if (!problem.sinks.empty()) options.sink_logits = compiled::contiguous(problem.sinks.data(), {p.heads});
    call(dca::contiguous(outputs.out.data(), problem.out_shape()), options);
    if (name != dense && !(same(outputs.out, templated.out) && same(outputs.lse, templated.lse))) {
      throw std::runtime_error(outputs.variant + ": other bits than through the templates");
    }
    all.push_back(std::move(outputs));
  };
  if (type == KeyValueType::scalar) {
    attend(dense, [&](auto out, auto& options) { attention(alone, x.query, x.key, x.value, out, options); });
  }
  const dca::CacheShape shape{.kv_heads = p.kv_heads, .head_dim = p.head_dim, .v_head_dim = p.v_head_dim};
  const compiled::StorageTypes types{.key = dtype_of<T>(type)};
  auto cache = attention.make_cache(types, shape, p.batch, {.tokens = std::max<dca::Index>(p.kv_len, 1)});
  cache.append(alone, x.key, x.value);
  attend("cache", [&](auto out, auto& options) { attention(alone, x.query, cache, out, options); });

  auto paged = attention.make_paged_cache(types, shape, p.batch * ((p.kv_len + 4) / 5), 5);
  std::vector<dca::Index> sequences;
  for (dca::Index b = 0; b < p.batch; ++b) {
    sequences.push_back(paged.add());
    paged.append(alone, sequences.back(), x.key.entry(b), x.value.entry(b));
  }
  attend("paged", [&](auto out, auto& options) {
    options.sequences = sequences;
    attention(alone, x.query, paged, out, options);
  });
  return all;
}

template std::vector<GoldenOutputs<float>> compiled_path(const GoldenProblem<float>&, KeyValueType,
                                                         const GoldenOutputs<float>&);
template std::vector<GoldenOutputs<double>> compiled_path(const GoldenProblem<double>&, KeyValueType,
                                                          const GoldenOutputs<double>&);

}  // namespace dca_test
