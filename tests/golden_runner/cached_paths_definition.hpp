// The bodies of the cached paths, for the files that instantiate them.
#pragma once

#include <stdexcept>

#include "golden_runner/cached_paths.hpp"
#include "support/problem.hpp"

namespace dca_test {
namespace cached {

using dca::Index;

template <class T>
using Operator = dca::DualChunkAttention<T>;

template <class T>
dca::CacheShape shape_of(const GoldenProblem<T>& problem) {
  const GoldenParameters& p = problem.parameters;
  return {.kv_heads = p.kv_heads, .head_dim = p.head_dim, .v_head_dim = p.v_head_dim};
}

/// A problem, its operator, and outputs that fill up call by call.
template <class T, class E>
struct Run {
  const GoldenProblem<T>& problem;
  Operator<T> attention = problem.template make<Operator<T>>();
  Operands<T> operands = problem.operands();
  GoldenOutputs<T> outputs;
  Eigen::DefaultDevice device{};

  Run(const GoldenProblem<T>& p, std::string name) : problem(p), outputs(p, std::move(name)) {}

  auto cache(dca::CacheCapacity capacity) const {
    return attention.template make_cache<E>(shape_of(problem), problem.parameters.batch, capacity);
  }

  /// Appends tokens [first, first + count) of the case to all sequences.
  template <class Cache>
  void append(Cache& cache, Index first, Index count) const {
    cache.append(device, operands.key.slice(1, first, count), operands.value.slice(1, first, count));
  }

  /// Attention of query rows [first, first + count) to what the cache holds.
  template <class Source>
  void attend(const Source& source, Index first, Index count, std::optional<Index> q_offset = {}) {
    const auto out = dca::contiguous(outputs.out.data(), problem.out_shape());
    const auto lse = dca::contiguous(outputs.lse.data(), problem.lse_shape());
    attention(device, operands.query.slice(1, first, count), source, out.slice(1, first, count),
              {.q_offset = q_offset, .lse = lse.slice(1, first, count), .sink_logits = problem.sinks});
  }
};

template <class T>
void check_same_bits(const GoldenOutputs<T>& a, const GoldenOutputs<T>& b) {
  if (!same_bits(a.out, b.out) || !same_bits(a.lse, b.lse)) {
    throw std::runtime_error(b.variant + ": other bits than " + a.variant);
  }
}

/// The case in pieces whose sizes `next` tells: tokens up to a piece's last query are appended, then it is attended.
template <class T, class E, class Next>
GoldenOutputs<T> run_pieces(const GoldenProblem<T>& problem, std::string name, dca::CacheCapacity capacity,
                            const Next& next) {
  Run<T, E> run(problem, std::move(name));
  auto cache = run.cache(capacity);
  const GoldenParameters& p = problem.parameters;
  run.append(cache, 0, p.q_offset);
  for (Index first = 0, k = 0; first < p.q_len; ++k) {
    const Index count = std::min(next(k), p.q_len - first);
    run.append(cache, p.q_offset + first, count);
    run.attend(cache.view(), first, count);
    first += count;
  }
  return run.outputs;
}

}  // namespace cached

template <class T, class E>
std::vector<GoldenOutputs<T>> cached_path(const GoldenProblem<T>& problem) {
  const GoldenParameters& p = problem.parameters;
  cached::Run<T, E> run(problem, "one call");
  auto cache = run.cache({.tokens = std::max<dca::Index>(p.kv_len, 1)});
  run.append(cache, 0, p.kv_len);
  run.attend(cache.view(), 0, p.q_len, p.q_offset);
  return {run.outputs};
}

template <class T, class E>
std::vector<GoldenOutputs<T>> chunked_path(const GoldenProblem<T>& problem) {
  const auto odd = [](dca::Index k) { return (dca::Index{1} << std::min<dca::Index>(k, 20)) + k % 2; };
  const auto even = [](dca::Index) { return dca::Index{23}; };
  return {cached::run_pieces<T, E>(problem, "growing pieces",
                                   {.tokens = std::max<dca::Index>(problem.parameters.kv_len, 1)}, odd),
          cached::run_pieces<T, E>(problem, "pieces of 23", {.tokens = 1, .grows = true}, even)};
}

template <class T, class E>
std::vector<GoldenOutputs<T>> decode_path(const GoldenProblem<T>& problem) {
  const GoldenParameters& p = problem.parameters;
  const auto one = [](dca::Index) { return dca::Index{1}; };
  std::vector<GoldenOutputs<T>> all{
      cached::run_pieces<T, E>(problem, "token by token", {.tokens = std::max<dca::Index>(p.kv_len, 1)}, one)};
  cached::Run<T, E> run(problem, "speculative");
  auto cache = run.cache({.tokens = std::max<dca::Index>(p.kv_len, 1)});
  run.append(cache, 0, p.q_offset);
  for (dca::Index first = 0, k = 0; first < p.q_len; ++k) {
    // Five are tried, and some of them kept.
    const dca::Index tried = std::min<dca::Index>(5, p.q_len - first), kept = std::min<dca::Index>(1 + k % 5, tried);
    run.append(cache, p.q_offset + first, tried);
    run.attend(cache.view(), first, tried);
    for (dca::Index b = 0; b < p.batch; ++b) cache.truncate(b, p.q_offset + first + kept);
    first += kept;
  }
  all.push_back(run.outputs);
  return all;
}

template <class T, class E>
std::vector<GoldenOutputs<T>> paged_path(const GoldenProblem<T>& problem) {
  const GoldenParameters& p = problem.parameters;
  const GoldenOutputs<T> contiguous = cached_path<T, E>(problem).front();
  std::vector<GoldenOutputs<T>> all;
  for (const dca::Index block_size : {1, 5, 16, 100}) {
    cached::Run<T, E> run(problem, "blocks of " + std::to_string(block_size));
    auto cache = run.attention.template make_paged_cache<E>(
        cached::shape_of(problem), p.batch * ((p.kv_len + block_size - 1) / block_size), block_size);
    std::vector<dca::Index> sequences;
    for (dca::Index b = 0; b < p.batch; ++b) sequences.push_back(cache.add());
    // Piece by piece and in turns, so that the blocks of the sequences lie among each other.
    for (dca::Index first = 0; first < p.kv_len; first += 37) {
      const dca::Index count = std::min<dca::Index>(37, p.kv_len - first);
      for (dca::Index b = 0; b < p.batch; ++b) {
        const auto piece = [&](const auto& view) { return view.slice(1, first, count).entry(b); };
        cache.append(run.device, sequences[static_cast<std::size_t>(b)], piece(run.operands.key),
                     piece(run.operands.value));
      }
    }
    run.attend(cache.view(sequences), 0, p.q_len, p.q_offset);
    cached::check_same_bits(contiguous, run.outputs);
    all.push_back(run.outputs);
  }
  return all;
}

template <class T, class E>
std::vector<GoldenOutputs<T>> ragged_path(const GoldenProblem<T>& problem) {
  // Ragged queries are the last ones of their sequence: only the tokens up to them are put in.
  using dca::Index;
  const GoldenParameters& p = problem.parameters;
  const Index tokens = p.q_offset + p.q_len;
  cached::Run<T, E> run(problem, "paged");
  auto cache = run.attention.template make_paged_cache<E>(cached::shape_of(problem), 2 * p.batch * (tokens + 1), 3);
  std::vector<Index> order, cu_seqlens{0};
  for (Index b = 0; b < p.batch; ++b) {
    order.push_back(cache.add());  // nothing in it, nothing asked
    cu_seqlens.push_back(cu_seqlens.back());
    order.push_back(cache.add());
    const auto part = [&](const auto& view) { return view.slice(1, 0, tokens).entry(b); };
    cache.append(run.device, order.back(), part(run.operands.key), part(run.operands.value));
    cu_seqlens.push_back(cu_seqlens.back() + p.q_len);
    order.push_back(cache.fork(order.back()));  // longer than what is asked: nothing
    cu_seqlens.push_back(cu_seqlens.back());
  }
  const dca::Extents rows{p.batch * p.q_len, p.heads, p.head_dim}, outs{p.batch * p.q_len, p.heads, p.v_head_dim};
  const auto query = dca::contiguous<const T>(problem.query.data(), rows);
  const auto attend = [&](const auto& source, GoldenOutputs<T>& to, const std::vector<Index>& cu) {
    run.attention(run.device, query, source, dca::contiguous(to.out.data(), outs),
                  {.lse = dca::contiguous(to.lse.data(), {p.batch * p.q_len, p.heads}),
                   .sink_logits = problem.sinks,
                   .cu_seqlens = cu});
  };
  attend(cache.view(order), run.outputs, cu_seqlens);
  std::vector<GoldenOutputs<T>> all{run.outputs};
  cached::Run<T, E> alone(problem, "one call");
  auto contiguous = alone.cache({.tokens = std::max<Index>(tokens, 1)});
  alone.append(contiguous, 0, tokens);
  alone.attend(contiguous.view(), 0, p.q_len);
  cached::check_same_bits(alone.outputs, run.outputs);
  if constexpr (std::is_same_v<T, E>) {
    if (tokens == p.kv_len) {
      std::vector<Index> cu_queries{0}, cu_keys{0};
      for (Index b = 1; b <= p.batch; ++b) {
        cu_queries.push_back(b * p.q_len);
        cu_keys.push_back(b * p.kv_len);
      }
      const dca::RaggedKeyValues<const T, const T> source(
          dca::contiguous<const T>(problem.key.data(), {p.batch * p.kv_len, p.kv_heads, p.head_dim}),
          dca::contiguous<const T>(problem.value.data(), {p.batch * p.kv_len, p.kv_heads, p.v_head_dim}), cu_keys);
      GoldenOutputs<T> dense(problem, "dense");
      attend(source, dense, cu_queries);
      all.push_back(dense);
    }
  }
  return all;
}

/// Instantiated once per storage type.
#define DCA_TEST_INSTANTIATE_CACHED_PATHS(T, E)                                       \
  template std::vector<GoldenOutputs<T>> cached_path<T, E>(const GoldenProblem<T>&);  \
  template std::vector<GoldenOutputs<T>> chunked_path<T, E>(const GoldenProblem<T>&); \
  template std::vector<GoldenOutputs<T>> decode_path<T, E>(const GoldenProblem<T>&);  \
  template std::vector<GoldenOutputs<T>> paged_path<T, E>(const GoldenProblem<T>&);   \
  template std::vector<GoldenOutputs<T>> ragged_path<T, E>(const GoldenProblem<T>&)

}  // namespace dca_test
