#include "golden_runner/paths.hpp"

#include <array>
#include <cstring>
#include <stdexcept>

namespace dca_test {
namespace {

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class Attention, class T>
GoldenOutputs<T> functor_state(const GoldenProblem<T>& problem) {
  GoldenOutputs<T> state(problem);
  const auto attention = problem.template make<Attention>();
  const Operands<T> x = problem.operands();
  attention(Eigen::DefaultDevice{}, x.query, x.key, x.value, dca::contiguous(state.out.data(), problem.out_shape()),
            {.q_offset = problem.parameters.q_offset, .lse = dca::contiguous(state.lse.data(), problem.lse_shape())});
  return state;
}

/// The first row of each piece: cut at growing odd distances, so that pieces start anywhere in a chunk.
std::vector<dca::Index> odd_cuts(dca::Index q_len) {
  std::vector<dca::Index> cuts;
  for (dca::Index first = 0, step = 1; first < q_len; first += step, step = 2 * step + 1) cuts.push_back(first);
  cuts.push_back(q_len);
  return cuts;
}

std::vector<dca::Index> tail_cuts(dca::Index q_len) {
  std::vector<dca::Index> cuts{0};
  for (dca::Index first = std::max<dca::Index>(q_len - 5, 1); first <= q_len; ++first) cuts.push_back(first);
  return cuts;
}

template <class T>
GoldenOutputs<T> run_pieces(const GoldenProblem<T>& problem, const std::vector<dca::Index>& cuts, std::string name) {
  GoldenOutputs<T> outputs(problem, std::move(name));
  const auto attention = problem.template make<dca::DualChunkAttention<T>>();
  const Operands<T> whole = problem.operands();
  const auto out = dca::contiguous(outputs.out.data(), problem.out_shape());
  const auto lse = dca::contiguous(outputs.lse.data(), problem.lse_shape());
  for (std::size_t k = 0; k + 1 < cuts.size(); ++k) {
    const dca::Index first = cuts[k], count = cuts[k + 1] - first;
    attention(Eigen::DefaultDevice{}, whole.query.slice(1, first, count), whole.key, whole.value,
              out.slice(1, first, count),
              {.q_offset = problem.parameters.q_offset + first,
               .lse = lse.slice(1, first, count),
               .sink_logits = problem.sinks});
  }
  return outputs;
}

}  // namespace

template <class T>
std::vector<GoldenOutputs<T>> functors_path(const GoldenProblem<T>& problem) {
  std::array<GoldenOutputs<T>, 3> states{functor_state<dca::InterChunkAttention<T>>(problem),
                                         functor_state<dca::SuccessiveChunkAttention<T>>(problem),
                                         functor_state<dca::IntraChunkAttention<T>>(problem)};
  std::vector<dca::PartialState<const T>> views;
  for (const GoldenOutputs<T>& state : states) {
    views.push_back({dca::contiguous(state.out.data(), problem.out_shape()),
                     dca::contiguous(state.lse.data(), problem.lse_shape())});
  }
  GoldenOutputs<T> outputs(problem);
  dca::merge(Eigen::DefaultDevice{}, std::span<const dca::PartialState<const T>>(views),
             dca::PartialState<T>{dca::contiguous(outputs.out.data(), problem.out_shape()),
                                  dca::contiguous(outputs.lse.data(), problem.lse_shape())},
             std::span<const T>(problem.sinks));
  return {std::move(outputs)};
}

template <class T>
std::vector<GoldenOutputs<T>> split_path(const GoldenProblem<T>& problem) {
  const dca::Index q_len = problem.parameters.q_len;
  return {run_pieces(problem, odd_cuts(q_len), "growing pieces"), run_pieces(problem, tail_cuts(q_len), "last rows")};
}

template <class T>
std::vector<GoldenOutputs<T>> threads_path(const GoldenProblem<T>& problem) {
  const GoldenOutputs<T> alone = operator_path(problem).front();
  const auto attention = problem.template make<dca::DualChunkAttention<T>>();
  const Operands<T> x = problem.operands();
  std::vector<GoldenOutputs<T>> all;
  for (const int threads : {1, 2, 3, 8}) {
    GoldenOutputs<T> outputs(problem, std::to_string(threads) + " threads");
    Eigen::ThreadPool pool(threads);
    attention(Eigen::ThreadPoolDevice(&pool, threads), x.query, x.key, x.value,
              dca::contiguous(outputs.out.data(), problem.out_shape()),
              {.q_offset = problem.parameters.q_offset,
               .lse = dca::contiguous(outputs.lse.data(), problem.lse_shape()),
               .sink_logits = problem.sinks});
    if (!same_bits(outputs.out, alone.out) || !same_bits(outputs.lse, alone.lse)) {
      throw std::runtime_error(outputs.variant + ": other bits than on Eigen::DefaultDevice");
    }
    all.push_back(std::move(outputs));
  }
  return all;
}

template std::vector<GoldenOutputs<float>> functors_path(const GoldenProblem<float>&);
template std::vector<GoldenOutputs<double>> functors_path(const GoldenProblem<double>&);
template std::vector<GoldenOutputs<float>> split_path(const GoldenProblem<float>&);
template std::vector<GoldenOutputs<double>> split_path(const GoldenProblem<double>&);
template std::vector<GoldenOutputs<float>> threads_path(const GoldenProblem<float>&);
template std::vector<GoldenOutputs<double>> threads_path(const GoldenProblem<double>&);

}  // namespace dca_test
