#include <limits>

#include "golden_runner/paths.hpp"

namespace dca_test {

template <class T>
GoldenProblem<T>::GoldenProblem(const GoldenCase& golden)
    : parameters(golden.parameters),
      query(golden.query.data.begin(), golden.query.data.end()),
      key(golden.key.data.begin(), golden.key.data.end()),
      value(golden.value.data.begin(), golden.value.data.end()),
      sinks(golden.sinks.data.begin(), golden.sinks.data.end()) {}

template <class T>
dca::ChunkConfig GoldenProblem<T>::chunks() const {
  return {.chunk_size = parameters.chunk_size, .local_window = parameters.local_window};
}

template <class T>
dca::RotaryEmbedding GoldenProblem<T>::rope() const {
  dca::RopeFrequencies frequencies =
      dca::linear_frequencies(parameters.rotary_dim, parameters.rope_theta, parameters.position_scale);
  frequencies.attention_factor = parameters.attention_factor;
  return dca::RotaryEmbedding(frequencies,
                              parameters.interleaved ? dca::RopePairing::interleaved : dca::RopePairing::half);
}

template <class T>
dca::Extents GoldenProblem<T>::query_shape() const {
  return {parameters.batch, parameters.q_len, parameters.heads, parameters.head_dim};
}

template <class T>
dca::Extents GoldenProblem<T>::key_shape() const {
  return {parameters.batch, parameters.kv_len, parameters.kv_heads, parameters.head_dim};
}

template <class T>
dca::Extents GoldenProblem<T>::value_shape() const {
  return {parameters.batch, parameters.kv_len, parameters.kv_heads, parameters.v_head_dim};
}

template <class T>
dca::Extents GoldenProblem<T>::out_shape() const {
  return {parameters.batch, parameters.q_len, parameters.heads, parameters.v_head_dim};
}

template <class T>
dca::Extents GoldenProblem<T>::lse_shape() const {
  return {parameters.batch, parameters.q_len, parameters.heads};
}

template <class T>
Operands<T> GoldenProblem<T>::operands() const {
  return {dca::contiguous(query.data(), query_shape()), dca::contiguous(key.data(), key_shape()),
          dca::contiguous(value.data(), value_shape())};
}

template <class T>
GoldenOutputs<T>::GoldenOutputs(const GoldenProblem<T>& problem, std::string name)
    : out(element_count({problem.parameters.batch, problem.parameters.q_len, problem.parameters.heads,
                         problem.parameters.v_head_dim}),
          std::numeric_limits<T>::quiet_NaN()),
      lse(element_count({problem.parameters.batch, problem.parameters.q_len, problem.parameters.heads}),
          std::numeric_limits<T>::quiet_NaN()),
      variant(std::move(name)) {}

template <class T>
std::vector<GoldenOutputs<T>> operator_path(const GoldenProblem<T>& problem) {
  GoldenOutputs<T> outputs(problem);
  const auto attention = problem.template make<dca::DualChunkAttention<T>>();
  const Operands<T> x = problem.operands();
  attention(Eigen::DefaultDevice{}, x.query, x.key, x.value, dca::contiguous(outputs.out.data(), problem.out_shape()),
            {.q_offset = problem.parameters.q_offset,
             .lse = dca::contiguous(outputs.lse.data(), problem.lse_shape()),
             .sink_logits = problem.sinks});
  return {std::move(outputs)};
}

template struct GoldenProblem<float>;
template struct GoldenProblem<double>;
template struct GoldenOutputs<float>;
template struct GoldenOutputs<double>;
template std::vector<GoldenOutputs<float>> operator_path(const GoldenProblem<float>&);
template std::vector<GoldenOutputs<double>> operator_path(const GoldenProblem<double>&);

}  // namespace dca_test
