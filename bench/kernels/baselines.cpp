// What the fused pass is worth: the three functors one by one with a merge, and attention as textbooks write it.
#include "problem.hpp"

namespace dca::bench {
namespace {

/// Output and lse of one functor.
struct Partial {
  Eigen::Tensor<float, 4, Eigen::RowMajor> out;
  Eigen::Tensor<float, 3, Eigen::RowMajor> lse;

  explicit Partial(const Shape& shape)
      : out(1, shape.length, shape.heads, shape.head_dim), lse(1, shape.length, shape.heads) {}

  PartialState<float> state() { return {blhd(out), blh(lse)}; }
  PartialState<const float> state() const { return {blhd(out), blh(lse)}; }
};

void three_functors(benchmark::State& state) {
  const Shape shape(state);
  Problem<float> problem(shape);
  const Device device(shape.threads);
  const AttentionConfig<ChunkLayout> config{.chunks = shape.chunks, .rope = rope_of(shape)};
  const InterChunkAttention<float> inter(config);
  const SuccessiveChunkAttention<float> successive(config);
  const IntraChunkAttention<float> intra(config);
  std::vector<Partial> parts(3, Partial(shape));
  Partial result(shape);
  const auto attend = [&](const auto& functor, Partial& part) {
    functor(*device, blhd(problem.query), blhd(problem.key), blhd(problem.value), part.state().out,
            {.lse = part.state().lse});
  };
  SpeedReport speed(state);
  for (auto _ : state) {
    attend(inter, parts[0]);
    attend(successive, parts[1]);
    attend(intra, parts[2]);
    const PartialState<const float> states[] = {std::as_const(parts[0]).state(), std::as_const(parts[1]).state(),
                                                std::as_const(parts[2]).state()};
    merge<Eigen::ThreadPoolDevice, float>(*device, states, result.state());
    benchmark::ClobberMemory();
  }
  speed.write<float>(shape.causal_flops(), shape.threads);
}

/// The whole length x length matrix of one head, by Eigen's matrix products, RoPE done beforehand.
void eigen_matrix(benchmark::State& state) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Shape shape(state);
  Problem<float> problem(shape);
  std::vector<Index> positions(static_cast<std::size_t>(shape.length));
  for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<Index>(i);
  rotate(rope_of(shape), std::span<const Index>(positions), blhd(problem.query));
  rotate(rope_of(shape), std::span<const Index>(positions), blhd(problem.key));
  const Eigen::Map<const Matrix> query(problem.query.data(), shape.length, shape.head_dim);
  const Eigen::Map<const Matrix> key(problem.key.data(), shape.length, shape.head_dim);
  const Eigen::Map<const Matrix> value(problem.value.data(), shape.length, shape.head_dim);
  Eigen::Map<Matrix> out(problem.out.data(), shape.length, shape.head_dim);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  Matrix logits(shape.length, shape.length);
  SpeedReport speed(state);
  for (auto _ : state) {
    logits.noalias() = scale * query * key.transpose();
    for (Index i = 0; i < shape.length; ++i) {
      auto seen = logits.row(i).head(i + 1);
      seen = (seen.array() - seen.maxCoeff()).exp().matrix().eval();
      seen /= seen.sum();
      logits.row(i).tail(shape.length - i - 1).setZero();
    }
    out.noalias() = logits * value;
    benchmark::ClobberMemory();
  }
  speed.write<float>(shape.causal_flops(), 1);
  state.counters["scratch_bytes"] = static_cast<double>(logits.size()) * sizeof(float);
}

template <class Function>
auto* add(const char* name, Function* function) {
  return benchmark::RegisterBenchmark(name, function)
      ->ArgNames(Shape::argument_names())
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace

void add_baselines() {
  add("baseline/three_functors_and_merge", three_functors)
      ->Args({512, 128, 1, 1, 384, 42, 1})
      ->Args({4096, 128, 1, 1, 1152, 128, 1})
      ->Args({8192, 128, 1, 1, 2304, 256, 1});
  add("baseline/eigen_matrix", eigen_matrix)->Args({512, 128, 1, 1, 384, 42, 1})->Args({2048, 128, 1, 1, 1152, 128, 1});
}

}  // namespace dca::bench
