// The pieces of code in docs/ that come from no example, compiled and run. check_code.py finds them here word for word.
#include <dca/dca.hpp>
#include <iostream>
#include <random>
#include <vector>

namespace {

using dca::Index;
using dca::TensorView;

constexpr Index heads = 8, kv_heads = 2, head_dim = 64, length = 500;
const Eigen::DefaultDevice device;

int failures = 0;

void check(bool good, const char* what) {
  if (!good) std::cerr << "not so: " << what << '\n';
  failures += good ? 0 : 1;
}

/// Random numbers in [tokens, head_count, head_dim] order.
struct Rows {
  Index head_count;
  std::vector<float> numbers;

  Rows(Index tokens, Index count) : head_count(count), numbers(static_cast<std::size_t>(tokens * count * head_dim)) {
    static std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (float& number : numbers) number = normal(random);
  }
};

/// Tokens [first, first + count) of x: [count, heads, head_dim].
TensorView<float> rows(Rows& x, Index first, Index count) {
  const Index tokens = std::ssize(x.numbers) / (x.head_count * head_dim);
  return dca::contiguous(x.numbers.data(), {tokens, x.head_count, head_dim}).slice(0, first, count);
}

float difference(const Rows& a, const Rows& b, Index first, Index count) {
  float most = 0;
  for (auto k = first * a.head_count * head_dim; k < (first + count) * a.head_count * head_dim; ++k) {
    most = std::max(most, std::abs(a.numbers[static_cast<std::size_t>(k)] - b.numbers[static_cast<std::size_t>(k)]));
  }
  return most;
}

const dca::DualChunkAttention<float> attention({
    .chunks = dca::ChunkLayout::from_trained_window(128),
    .rope = dca::RotaryEmbedding(dca::plain_frequencies(head_dim, 10000.0)),
});

void layouts() {
  {
    const dca::ChunkLayout chunks = dca::ChunkLayout::from_trained_window(32768);
    check(chunks.chunk_size() == 24576 && chunks.local_window() == 4096, "three quarters, an eighth");
  }
  {
    const dca::ChunkLayout chunks(dca::ChunkConfig{.chunk_size = 24576, .local_window = 2048});
    check(chunks.chunk_len() == 22528, "chunk_len");
  }
  {
    // "dual_chunk_attention_config" of a config.json
    const dca::ChunkLayout chunks = dca::ChunkLayout::from_model_config({
        .chunk_size = 262144,
        .local_size = 8192,
        .original_max_position_embeddings = 262144,
    });
    check(chunks.chunk_len() == 253952, "Qwen2.5-1M");
  }
}

void embeddings() {
  const dca::RotaryEmbedding plain(dca::plain_frequencies(64, 10000.0));
  const dca::RotaryEmbedding gguf(dca::plain_frequencies(64, 500000.0), dca::RopePairing::interleaved);
  const dca::RotaryEmbedding yarn(dca::yarn_frequencies(64, 1e6, {.factor = 4.0, .trained_window = 32768}));
  check(plain.rotary_dim() == 64 && gguf.pairing() == dca::RopePairing::interleaved, "embeddings");
  check(yarn.attention_factor() > 1.13, "0.1 ln 4 + 1");
}

void prefill() {
  Rows query(length, heads), key(length, kv_heads), value(length, kv_heads), out(length, heads), whole(length, heads);
  attention(device, rows(query, 0, length), rows(key, 0, length), rows(value, 0, length), rows(whole, 0, length));

  constexpr Index piece = 128;
  for (Index first = 0; first < length; first += piece) {
    const Index count = std::min(piece, length - first), seen = first + count;
    attention(device, rows(query, first, count), rows(key, 0, seen), rows(value, 0, seen), rows(out, first, count));
  }
  check(difference(out, whole, 0, length) < 1e-5f, "pieces give the rows of one call");

  std::vector<float> lse_memory(length * heads), sinks(heads, 1.0f);
  const TensorView<float> lse = dca::contiguous(lse_memory.data(), {length, heads});
  attention(device, rows(query, 0, length), rows(key, 0, length), rows(value, 0, length), rows(out, 0, length),
            {.lse = lse, .sink_logits = sinks});
  check(std::isfinite(lse_memory.back()) && difference(out, whole, 0, length) > 1e-3f, "sinks shrink the output");
}

void refusals() {
  try {
    const dca::ChunkLayout chunks(dca::ChunkConfig{.chunk_size = 8, .local_window = 8});
    check(false, "refused");
  } catch (const std::invalid_argument& error) {
    // dca: local_window: 8; must be at least 0 and less than chunk_size, 8
    check(std::string(error.what()).find("local_window: 8; must be at least 0") != std::string::npos, error.what());
  }
}

void decoding() {
  Rows query(length, heads), key(length, kv_heads), value(length, kv_heads), answer(length, heads),
      whole(length, heads);
  attention(device, rows(query, 0, length), rows(key, 0, length), rows(value, 0, length), rows(whole, 0, length));
  const auto new_keys = rows(key, 0, length), new_values = rows(value, 0, length);
  const auto new_queries = rows(query, length - 4, 4), out = rows(answer, length - 4, 4);
  dca::Workspace workspace;

  auto cache =
      attention.make_cache<Eigen::half>({.kv_heads = 2, .head_dim = 64, .v_head_dim = 64}, 1, {.tokens = 4096});
  cache.append(device, 0, new_keys, new_values);                          // rotated once, as they enter
  attention(device, new_queries, cache, out, {.workspace = &workspace});  // the newest tokens, causal among themselves
  check(difference(answer, whole, length - 4, 4) < 5e-3f, "half precision");
}

void several_sequences() {
  Rows key(length, kv_heads), value(length, kv_heads);
  const auto keys = rows(key, 0, length), values = rows(value, 0, length);
  const Index accepted = 490, prompt = 400;

  // Keys in half precision, values in 8 bits, two sequences that grow.
  auto cache = attention.make_cache<Eigen::half, dca::Int8>({.kv_heads = 2, .head_dim = 64, .v_head_dim = 64}, 2,
                                                            {.tokens = 256, .grows = true});
  cache.append(device, 0, keys, values);
  cache.truncate(0, accepted);      // a draft that was refused: its tokens are as if they had never been
  cache.copy_prefix(0, 1, prompt);  // sequence 1 goes on from the same prompt
  check(cache.length(0) == 490 && cache.length(1) == 400 && cache.capacity() >= 500, "lengths");
}

void key_offsets() {
  Rows query(length, heads), key(length, kv_heads), value(length, kv_heads), answer(length, heads),
      whole(length, heads);
  for (std::size_t k = 30; k < key.numbers.size(); k += head_dim) key.numbers[k] += 200.0f;  // the bias of a feature
  const auto keys = rows(key, 0, length), values = rows(value, 0, length);
  const auto new_queries = rows(query, length - 4, 4), out = rows(answer, length - 4, 4);
  attention(device, rows(query, 0, length), keys, values, rows(whole, 0, length));
  auto cache =
      attention.make_cache<dca::Int8, float>({.kv_heads = 2, .head_dim = 64, .v_head_dim = 64}, 1, {.tokens = 4096});
  {
    // keys: the model's key bias as a single key, or some hundred of its keys.
    const std::vector<float> offset = dca::estimate_key_offset(attention.config().rope, keys);
    cache.set_key_offset(dca::contiguous(offset.data(), {2, 64}));
  }
  cache.append(device, 0, keys, values);
  attention(device, new_queries, cache, out);
  check(difference(answer, whole, length - 4, 4) < 0.1f, "8 bits of keys with a bias");
}

void paged() {
  Rows key(length, kv_heads), value(length, kv_heads);
  const auto keys = rows(key, 0, length), values = rows(value, 0, length);
  const dca::CacheShape shape{.kv_heads = 2, .head_dim = 64, .v_head_dim = 64};

  auto cache = attention.make_paged_cache<Eigen::half>(shape, 400, 16);  // 400 blocks of 16 tokens
  const Index first = cache.add();
  cache.append(device, first, keys, values);
  const Index second = cache.fork(first);  // the same blocks; one that is written is copied before
  cache.remove(first);                     // those that `second` holds stay
  check(cache.length(second) == length && cache.pool().free_blocks() == 400 - 32, "a fork keeps its blocks");
}

void own_tables() {
  Rows query(20, heads), key(20, kv_heads), value(20, kv_heads), answer(20, heads), expected(20, heads);
  const auto queries = rows(query, 0, 20), keys = rows(key, 0, 20), values = rows(value, 0, 20);
  const auto out = rows(answer, 0, 20);
  const dca::CacheShape shape{.kv_heads = 2, .head_dim = 64, .v_head_dim = 64};

  dca::BlockPool<Eigen::half> pool(attention.placed_keys(), shape, 100, 16);
  std::vector<Index> blocks{pool.take(), pool.take()};  // any two, in any order
  std::vector<dca::BlockTable> tables{{.blocks = blocks, .length = 0}};
  pool.append(device, std::span<const dca::BlockTable>(tables), keys, values);
  tables[0].length += 20;  // the tables are yours, and so is the count
  attention(device, queries, dca::PagedKeyValues(pool, std::span<const dca::BlockTable>(tables)), out);
  attention(device, queries, keys, values, rows(expected, 0, 20));
  check(difference(answer, expected, 0, 20) < 5e-3f, "tables of your own");
}

void ragged() {
  Rows q(206, heads), k(206, kv_heads), v(206, kv_heads), answer(206, heads), alone(206, heads);
  const auto query = rows(q, 0, 206), key = rows(k, 0, 206), value = rows(v, 0, 206), out = rows(answer, 0, 206);

  const std::vector<Index> cu_seqlens{0, 5, 205, 206};  // three sequences, of 5, 200 and 1 tokens
  attention(device, query, dca::RaggedKeyValues(key, value, cu_seqlens), out, {.cu_seqlens = cu_seqlens});
  attention(device, rows(q, 5, 200), rows(k, 5, 200), rows(v, 5, 200), rows(alone, 5, 200));
  check(difference(answer, alone, 5, 200) == 0, "a sequence of a ragged batch has the bits that it gets alone");
}

void three_functors() {
  Rows q(length, heads), k(length, kv_heads), v(length, kv_heads), answer(length, heads), expected(length, heads);
  const auto query = rows(q, 0, length), key = rows(k, 0, length), value = rows(v, 0, length);
  std::vector<Rows> outs(3, Rows(length, heads));
  std::vector<std::vector<float>> lses(3, std::vector<float>(static_cast<std::size_t>(length * heads)));
  const auto state = [&](std::size_t part) {
    return dca::PartialState<float>{rows(outs[part], 0, length), dca::contiguous(lses[part].data(), {length, heads})};
  };
  const dca::PartialState<float> inter = state(0), successive = state(1), intra = state(2);

  dca::InterChunkAttention<float>(attention.config())(device, query, key, value, inter.out, {.lse = inter.lse});
  dca::SuccessiveChunkAttention<float>(attention.config())(device, query, key, value, successive.out,
                                                           {.lse = successive.lse});
  dca::IntraChunkAttention<float>(attention.config())(device, query, key, value, intra.out, {.lse = intra.lse});
  const std::vector<dca::PartialState<const float>> states{
      {inter.out, inter.lse}, {successive.out, successive.lse}, {intra.out, intra.lse}};
  dca::merge(device, std::span<const dca::PartialState<const float>>(states), intra);  // into the memory of one of them
  attention(device, query, key, value, rows(expected, 0, length));
  check(difference(outs[2], expected, 0, length) < 1e-5f, "three functors merged are the operator");
}

void selection() {
  Rows q(length, heads), k(length, kv_heads), v(length, kv_heads), answers(length, heads), expected(length, heads);
  const auto query = rows(q, 0, length), key = rows(k, 0, length), value = rows(v, 0, length);
  const auto out = rows(answers, 0, length), newest = rows(q, length - 1, 1), answer = rows(answers, length - 1, 1);
  attention(device, query, key, value, rows(expected, 0, length));

  attention(device, query, key, value, out, {}, dca::TopBlocks{.keys = 2048});
  check(difference(answers, expected, 0, length) == 0,
        "with every block chosen the bits are those of the exact result");

  std::vector<float> shares(static_cast<std::size_t>(length * heads));
  const auto skipped = dca::contiguous(shares.data(), {length, heads});
  std::vector<dca::ChosenBlocks> chosen;
  attention(device, query, key, value, out, {.skipped = skipped, .chosen = &chosen}, dca::TopBlocks{.keys = 2048});
  check(shares.back() == 0 && chosen.back().blocks.size() == 4, "nothing is skipped, and four blocks are visited");

  dca::Workspace workspace;
  auto cache = attention.make_cache<Eigen::half>(
      {.kv_heads = 2, .head_dim = 64, .v_head_dim = 64, .summary_block = 128}, 1, {.tokens = 4096});
  cache.append(device, 0, key, value);
  attention(device, newest, cache, answer, {.workspace = &workspace}, dca::TopBlocks{.keys = 1024});
  check(difference(answers, expected, length - 1, 1) < 5e-3f, "a step of decoding from a cache with summaries");
}

}  // namespace

int main() {
  layouts();
  embeddings();
  prefill();
  refusals();
  decoding();
  several_sequences();
  key_offsets();
  paged();
  own_tables();
  ragged();
  three_functors();
  selection();
  return failures == 0 ? 0 : 1;
}
