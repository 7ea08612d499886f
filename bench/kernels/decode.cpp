// Decode against a cache: kv_len, heads, sequences, storage types, queries, threads; and what a call costs by itself.
#include <dca/compiled.hpp>

#include "problem.hpp"

namespace dca::bench {
namespace {

constexpr Index chunk_size = 6144, local_window = 1024;

/// One step of decoding; kv_len in tokens.
struct Step {
  Index kv_len;
  Index head_dim;
  Index heads;
  Index kv_heads;
  Index sequences;
  Index queries;  // of each sequence
  int threads;

  static const std::vector<std::string>& argument_names() {
    static const std::vector<std::string> names{"kv_len", "D", "heads", "kv_heads", "batch", "queries", "threads"};
    return names;
  }

  explicit Step(const benchmark::State& state)
      : kv_len(state.range(0)),
        head_dim(state.range(1)),
        heads(state.range(2)),
        kv_heads(state.range(3)),
        sequences(state.range(4)),
        queries(state.range(5)),
        threads(static_cast<int>(state.range(6))) {}
};

/// Normally distributed numbers, [batch, length, heads, head_dim].
using Numbers = Eigen::Tensor<float, 4, Eigen::RowMajor>;

Numbers random_numbers(Index batch, Index length, Index heads, Index head_dim) {
  Numbers numbers(batch, length, heads, head_dim);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (Eigen::Index k = 0; k < numbers.size(); ++k) numbers.data()[k] = normal(random);
  return numbers;
}

/// Fills `append(tokens)` with the same tokens again and again until there are kv_len: memory is read whatever is in
/// it.
template <class Append>
void fill(const Step& step, const Append& append) {
  constexpr Index piece = 1024;
  const Numbers numbers = random_numbers(step.sequences, piece, step.kv_heads, step.head_dim);
  for (Index done = 0; done < step.kv_len; done += piece) {
    append(blhd(numbers).slice(1, 0, std::min(piece, step.kv_len - done)));
  }
}

template <class Source>
void time_steps(benchmark::State& state, const Step& step, const DualChunkAttention<float>& attention,
                const Source& source, Index bytes) {
  const Device device(step.threads);
  const Numbers query = random_numbers(step.sequences, step.queries, step.heads, step.head_dim);
  Numbers out(query.dimensions());
  Workspace workspace;
  const Clock::time_point start = Clock::now();
  for (auto _ : state) {
    attention(*device, blhd(query), source, blhd(out), {.workspace = &workspace});
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const double speed = static_cast<double>(bytes) * static_cast<double>(state.iterations()) / seconds;
  state.counters["bytes/s"] = speed;
  state.counters["of_read_bandwidth"] = speed / known_read_bandwidth(step.threads);
  state.counters["scratch_bytes"] = static_cast<double>(workspace.bytes());
}

DualChunkAttention<float> make_attention(const Step& step) {
  return DualChunkAttention<float>({.chunks = ChunkConfig{.chunk_size = chunk_size, .local_window = local_window},
                                    .rope = RotaryEmbedding(plain_frequencies(step.head_dim, 10000.0))});
}

/// Keys and values stored as E, each sequence in one piece.
template <class E>
void contiguous_cache(benchmark::State& state) {
  const Step step(state);
  const auto attention = make_attention(step);
  auto cache = attention.make_cache<E>({step.kv_heads, step.head_dim, step.head_dim}, step.sequences, {step.kv_len});
  fill(step, [&](const auto& tokens) { cache.append(Eigen::DefaultDevice{}, tokens, tokens); });
  time_steps(state, step, attention, cache.view(), cache.bytes());
}

/// As contiguous_cache, with a key offset in so many pairs of features.
template <class E, Index pairs>
void offset_cache(benchmark::State& state) {
  const Step step(state);
  const auto attention = make_attention(step);
  auto cache = attention.make_cache<E>({step.kv_heads, step.head_dim, step.head_dim}, step.sequences, {step.kv_len});
  Eigen::Tensor<float, 2, Eigen::RowMajor> offset(step.kv_heads, step.head_dim);
  offset.setZero();
  for (Index head = 0; head < step.kv_heads; ++head) {
    for (Index pair = 0; pair < pairs; ++pair) offset(head, pair) = offset(head, pair + step.head_dim / 2) = 100.0f;
  }
  cache.set_key_offset(contiguous<const float>(offset.data(), {step.kv_heads, step.head_dim}));
  fill(step, [&](const auto& tokens) { cache.append(Eigen::DefaultDevice{}, tokens, tokens); });
  time_steps(state, step, attention, cache.view(), cache.bytes());
}

/// Keys and values stored as E, in blocks of 16 tokens.
template <class E>
void paged_cache(benchmark::State& state) {
  constexpr Index block_size = 16;
  const Step step(state);
  const auto attention = make_attention(step);
  auto cache = attention.make_paged_cache<E>({step.kv_heads, step.head_dim, step.head_dim},
                                             step.sequences * detail::ceil_div(step.kv_len, block_size), block_size);
  std::vector<Index> sequences;
  for (Index s = 0; s < step.sequences; ++s) sequences.push_back(cache.add());
  fill(step, [&](const auto& tokens) {
    for (Index s = 0; s < step.sequences; ++s) {
      const TensorView<const float> mine = tokens.entry(s);
      cache.append(Eigen::DefaultDevice{}, sequences[static_cast<std::size_t>(s)], mine, mine);
    }
  });
  time_steps(state, step, attention, cache.view(sequences), cache.pool().bytes());
}

/// As contiguous_cache<float>, by the compiled operator.
void compiled_cache(benchmark::State& state) {
  const Step step(state);
  const compiled::Attention attention(
      {.chunks = {.chunk_size = chunk_size, .local_window = local_window}, .rope = {.rotary_dim = step.head_dim}});
  auto cache = attention.make_cache({}, {step.kv_heads, step.head_dim, step.head_dim}, step.sequences, {step.kv_len});
  fill(step, [&](const auto& tokens) { cache.append(Executor{}, tokens, tokens); });
  const Device device(step.threads);
  const Executor executor = executor_of(*device);
  const Numbers query = random_numbers(step.sequences, step.queries, step.heads, step.head_dim);
  Numbers out(query.dimensions());
  compiled::Workspace workspace;
  for (auto _ : state) {
    attention(executor, blhd(query), cache, blhd(out), {.workspace = &workspace});
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
}

/// So few keys that what remains is the call.
constexpr auto call = [](auto* bench) { bench->Args({16, 64, 1, 1, 1, 1, 1}); };

constexpr auto lengths = [](auto* bench) {
  for (const Index kv_len : {1024, 8192, 32768, 131072}) bench->Args({kv_len, 128, 8, 8, 1, 1, 1});
};

constexpr auto head_groups = [](auto* bench) {
  for (const Index heads : {8, 16, 32, 64}) bench->Args({32768, 128, heads, 8, 1, 1, 1});
};

constexpr auto batches = [](auto* bench) {
  for (const Index sequences : {1, 4, 16}) bench->Args({4096, 128, 8, 8, sequences, 1, 1});
};

constexpr auto queries = [](auto* bench) {
  for (const Index count : {1, 2, 4, 8, 16}) bench->Args({32768, 128, 8, 8, 1, count, 1});
};

/// One query row of each kv_head, four, and a piece of a prompt.
constexpr auto some_rows = [](auto* bench) {
  for (const Index heads : {8, 32}) bench->Args({32768, 128, heads, 8, 1, 1, 1});
  bench->Args({8192, 128, 8, 2, 1, 512, 1});
};

/// Query rows of one kv_head: streamed, packed in pieces of keys, and in blocks of rows.
constexpr auto rows = [](auto* bench) {
  for (const int threads : {1, all_threads()}) {
    for (const Index heads : {1, 4, 16, 17, 24, 25, 32, 33, 40, 64, 65})
      bench->Args({32768, 128, heads, 1, 1, 1, threads});
  }
};

constexpr auto types = [](auto* bench) {
  for (const int threads : {1, all_threads()}) bench->Args({32768, 128, 8, 8, 1, 1, threads});
};

template <class Sweep>
void add(const std::string& name, void (*function)(benchmark::State&), const Sweep& sweep,
         benchmark::TimeUnit unit = benchmark::kMillisecond) {
  benchmark::RegisterBenchmark(name.c_str(), function)
      ->ArgNames(Step::argument_names())
      ->Apply(sweep)
      ->UseRealTime()
      ->Unit(unit);
}

}  // namespace

void add_decode() {
  add("decode/call/templates", contiguous_cache<float>, call, benchmark::kMicrosecond);
  add("decode/call/compiled", compiled_cache, call, benchmark::kMicrosecond);
  add("decode/lengths/float", contiguous_cache<float>, lengths);
  add("decode/heads/float", contiguous_cache<float>, head_groups);
  add("decode/batches/float", contiguous_cache<float>, batches);
  add("decode/queries/float", contiguous_cache<float>, queries);
  add("decode/rows/float", contiguous_cache<float>, rows);
  add("decode/types/float", contiguous_cache<float>, types);
  add("decode/types/half", contiguous_cache<Eigen::half>, types);
  add("decode/types/bfloat16", contiguous_cache<Eigen::bfloat16>, types);
  add("decode/types/int8", contiguous_cache<Int8>, types);
  add("decode/types/int4", contiguous_cache<Int4>, types);
  add("decode/offset/float/none", contiguous_cache<float>, some_rows);
  add("decode/offset/float/4_pairs", offset_cache<float, 4>, some_rows);
  add("decode/offset/half/none", contiguous_cache<Eigen::half>, some_rows);
  add("decode/offset/half/4_pairs", offset_cache<Eigen::half, 4>, some_rows);
  add("decode/offset/int8/none", contiguous_cache<Int8>, some_rows);
  add("decode/offset/int8/2_pairs", offset_cache<Int8, 2>, some_rows);
  add("decode/offset/int8/4_pairs", offset_cache<Int8, 4>, some_rows);
  add("decode/offset/int8/8_pairs", offset_cache<Int8, 8>, some_rows);
  add("decode/paged/float", paged_cache<float>, types);
  add("decode/paged/int8", paged_cache<Int8>, types);
}

}  // namespace dca::bench
