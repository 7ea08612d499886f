// What serving adds to attention itself: prompts read in pieces, batches of unequal sequences, blocks. Each beside what
// it should cost no more than.
#include "problem.hpp"

namespace dca::bench {
namespace {

constexpr Index head_dim = 128, heads = 8, kv_heads = 2;
constexpr CacheShape shape{.kv_heads = kv_heads, .head_dim = head_dim, .v_head_dim = head_dim};

DualChunkAttention<float> make_attention() {
  return DualChunkAttention<float>({.chunks = ChunkConfig{.chunk_size = 6144, .local_window = 1024},
                                    .rope = RotaryEmbedding(plain_frequencies(head_dim, 10000.0))});
}

/// Normally distributed queries, keys and values of `length` tokens, and room for the output: [length, heads,
/// head_dim].
struct Tokens {
  using Tensor = Eigen::Tensor<float, 3, Eigen::RowMajor>;
  Tensor query, key, value, out;

  explicit Tokens(Index length)
      : query(length, heads, head_dim),
        key(length, kv_heads, head_dim),
        value(length, kv_heads, head_dim),
        out(length, heads, head_dim) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (Tensor* tensor : {&query, &key, &value}) {
      for (Eigen::Index k = 0; k < tensor->size(); ++k) tensor->data()[k] = normal(random);
    }
  }
};

/// Rows [first, first + count) of a tensor [length, heads, head_dim].
template <class Tensor>
auto rows_of(Tensor& tensor, Index first, Index count) {
  return blhd(tensor).slice(0, first, count);
}

/// A prompt read in pieces of state.range(1) tokens: appended, then attended.
void chunked_prefill(benchmark::State& state) {
  const Index length = state.range(0), piece = state.range(1);
  Tokens tokens(length);
  const Device device(static_cast<int>(state.range(2)));
  const auto attention = make_attention();
  auto cache = attention.make_cache<float>(shape, 1, {.tokens = length});
  for (auto _ : state) {
    cache.truncate(0, 0);
    for (Index first = 0; first < length; first += piece) {
      const Index count = std::min(piece, length - first);
      cache.append(*device, 0, rows_of(tokens.key, first, count), rows_of(tokens.value, first, count));
      attention(*device, rows_of(tokens.query, first, count), cache, rows_of(tokens.out, first, count));
    }
    benchmark::ClobberMemory();
  }
}

/// Sequences with a cache of their own length and as many new tokens: prefill, pieces of it, decode, nothing.
struct Batch {
  static constexpr Index lengths[] = {700, 4096, 1, 2048, 4096, 3000, 5000, 0, 1500};
  static constexpr Index new_tokens[] = {700, 1, 1, 512, 1, 4, 1000, 0, 1};
  static constexpr Index count = static_cast<Index>(std::size(lengths));

  Tokens tokens{5000};
  DualChunkAttention<float> attention = make_attention();
  PagedCache<float> cache = attention.make_paged_cache<float>(shape, 2000, 16);
  std::vector<Index> sequences, cu_seqlens{0};

  Batch() {
    for (Index s = 0; s < count; ++s) {
      sequences.push_back(cache.add());
      cache.append(Eigen::DefaultDevice{}, sequences.back(), rows_of(tokens.key, 0, lengths[s]),
                   rows_of(tokens.value, 0, lengths[s]));
      cu_seqlens.push_back(cu_seqlens.back() + new_tokens[s]);
    }
  }
};

void ragged_in_one_call(benchmark::State& state) {
  Batch batch;
  const Device device(static_cast<int>(state.range(0)));
  Workspace workspace;
  const Index total = batch.cu_seqlens.back();
  for (auto _ : state) {
    batch.attention(*device, rows_of(batch.tokens.query, 0, total), batch.cache.view(batch.sequences),
                    rows_of(batch.tokens.out, 0, total), {.cu_seqlens = batch.cu_seqlens, .workspace = &workspace});
    benchmark::ClobberMemory();
  }
}

void ragged_one_by_one(benchmark::State& state) {
  Batch batch;
  const Device device(static_cast<int>(state.range(0)));
  Workspace workspace;
  for (auto _ : state) {
    for (Index s = 0; s < Batch::count; ++s) {
      const Index first = batch.cu_seqlens[static_cast<std::size_t>(s)], count = Batch::new_tokens[s];
      const std::span<const Index> one(&batch.sequences[static_cast<std::size_t>(s)], 1);
      auto query = rows_of(batch.tokens.query, first, count), out = rows_of(batch.tokens.out, first, count);
      batch.attention(*device, query, batch.cache.view(one), out, {.workspace = &workspace});
    }
    benchmark::ClobberMemory();
  }
}

}  // namespace

void add_serving() {
  const auto add = [](const char* name, auto* function) {
    return benchmark::RegisterBenchmark(name, function)->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  auto* const prefill = add("serving/chunked_prefill", chunked_prefill)->ArgNames({"L", "piece", "threads"});
  for (const Index piece : {8192, 2048, 512, 128}) prefill->Args({8192, piece, 1});
  add("serving/ragged/one_call", ragged_in_one_call)->ArgNames({"threads"})->Arg(1)->Arg(all_threads());
  add("serving/ragged/one_by_one", ragged_one_by_one)->ArgNames({"threads"})->Arg(1)->Arg(all_threads());
}

}  // namespace dca::bench
