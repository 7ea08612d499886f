// The compiled operator against the templates: the same bits, and the same errors.
#include <dca/compiled.hpp>

#if defined(__linux__)
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <system_error>

#include "support/catch.hpp"
#include "support/sanitized.hpp"
#include "support/selecting.hpp"

using namespace dca_test;
namespace compiled = dca::compiled;
using compiled::DType;

namespace {

constexpr dca::ChunkConfig chunks{70, 20};
constexpr Index rotary_dim = 24;
const dca::Executor alone{};

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

compiled::AttentionConfig config_of(compiled::Composition composition, DType scalar) {
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

/// A tensor converted to another type of numbers.
template <class X, class T>
std::vector<X> as(const std::vector<T>& x) {
  std::vector<X> to;
  for (const T value : x) to.push_back(static_cast<X>(value));
  return to;
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

/// The words of what a call throws.
template <class F>
std::string words_of(const F& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "nothing was thrown";
}

/// Both must throw, and say the same.
template <class F, class G>
void check_same_words(const F& templated, const G& by_value) {
  const std::string words = words_of(templated);
  CHECK(words != "nothing was thrown");
  CHECK(words_of(by_value) == words);
}

}  // namespace

TEMPLATE_TEST_CASE("the compiled operator gives the bits of the templates", "", float, double) {
  const auto check = [](auto templated, compiled::Composition composition) {
    for (const auto& [q_len, kv_len] : {std::pair<Index, Index>{1, 1}, {1, 300}, {7, 211}, {49, 300}, {300, 300}}) {
      const auto in = problem<TestType>(2, q_len, kv_len);
      INFO(q_len << " queries, " << kv_len << " keys, composition " << static_cast<int>(composition));
      CHECK(same_bits(run_compiled(make_compiled<TestType>(composition), in), run(templated, in)));
    }
  };
  using compiled::Composition;
  check(Pair<TestType, dca::DualChunkAttention>::templated(), Composition::dual_chunk);
  check(Pair<TestType, dca::CausalAttention>::templated(), Composition::causal);
  check(Pair<TestType, dca::IntraChunkAttention>::templated(), Composition::intra_chunk);
  check(Pair<TestType, dca::SuccessiveChunkAttention>::templated(), Composition::successive_chunk);
  check(Pair<TestType, dca::InterChunkAttention>::templated(), Composition::inter_chunk);
}

TEST_CASE("the compiled operator is right by the definition") {
  const auto in = problem<float>(2, 90, 300);
  const Ropes ropes = make_ropes(rotary_dim);
  CHECK(difference(run_compiled(make_compiled<float>(), in), dual_chunk_reference(in, chunks, ropes.reference)) == "");
}

TEST_CASE("tensors of the compiled operator have any types of numbers") {
  const auto in = problem<float>(1, 9, 150);
  const auto check = [&]<class Q, class K, class V, class O>(Q, K, V, O) {
    const auto query = as<Q>(in.query);
    const auto key = as<K>(in.key);
    const auto value = as<V>(in.value);
    std::vector<O> expected(in.query.size()), actual(in.query.size());
    const auto q = dca::contiguous(query.data(), in.query_shape());
    const auto k = dca::contiguous(key.data(), in.key_shape());
    const auto v = dca::contiguous(value.data(), in.value_shape());
    make_template<float>()(Eigen::DefaultDevice{}, q, k, v, dca::contiguous(expected.data(), in.out_shape()));
    make_compiled<float>()(alone, q, k, v, dca::contiguous(actual.data(), in.out_shape()));
    CHECK(same_bits(actual, expected));
  };
  check(Eigen::half{}, Eigen::bfloat16{}, double{}, float{});
  check(double{}, Eigen::half{}, Eigen::bfloat16{}, Eigen::half{});
  check(Eigen::bfloat16{}, float{}, Eigen::half{}, Eigen::bfloat16{});
  check(float{}, double{}, float{}, double{});
}

TEMPLATE_TEST_CASE("options of the compiled operator are those of the templates", "", float, double) {
  auto in = problem<TestType>(2, 30, 200);
  const std::vector<TestType> sinks{TestType(0.5), TestType(-1), TestType(2), TestType(0)};
  auto config = config_of(compiled::Composition::dual_chunk, compiled::DTypeOf<TestType>::value);
  config.softmax_scale = 0.3;
  config.logit_softcap = 5.0;
  const auto templated = Pair<TestType, dca::DualChunkAttention>::templated(0.3, 5.0);
  compiled::Workspace workspace;
  const auto actual =
      run_compiled(compiled::Attention(config), in,
                   {.q_offset = 100, .sink_logits = compiled::contiguous(sinks.data(), {4}), .workspace = &workspace});
  CHECK(same_bits(actual, run(templated, in, {.q_offset = 100, .sink_logits = sinks})));
  CHECK(workspace.bytes() > 0);
}

TEST_CASE("every stretch of the frequencies is that of the templates") {
  using compiled::RopeScaling;
  const auto in = problem<float>(1, 40, 300);
  const auto check = [&](const compiled::RopeConfig& rope, dca::RopeFrequencies frequencies,
                         dca::RopePairing pairing = dca::RopePairing::half) {
    auto config = config_of(compiled::Composition::dual_chunk, DType::float32);
    config.rope = rope;
    const dca::DualChunkAttention<float> templated(
        {.chunks = chunks, .rope = dca::RotaryEmbedding(std::move(frequencies), pairing)});
    CHECK(same_bits(run_compiled(compiled::Attention(config), in), run(templated, in)));
  };
  check({.rotary_dim = 32, .theta = 5e5}, dca::plain_frequencies(32, 5e5));
  check({.rotary_dim = 0}, dca::plain_frequencies(0, 1e4));
  check({.rotary_dim = 32, .scaling = RopeScaling::linear, .factor = 4}, dca::linear_frequencies(32, 1e4, 4));
  check({.rotary_dim = 32, .scaling = RopeScaling::ntk, .factor = 4}, dca::ntk_frequencies(32, 1e4, 4));
  check({.rotary_dim = 32, .scaling = RopeScaling::dynamic_ntk, .factor = 2, .trained_window = 64, .length = 300},
        dca::dynamic_ntk_frequencies(32, 1e4, {.factor = 2, .trained_window = 64, .length = 300}));
  check({.rotary_dim = 32, .scaling = RopeScaling::yarn, .factor = 4, .trained_window = 64, .beta_fast = 16},
        dca::yarn_frequencies(32, 1e4, {.factor = 4, .trained_window = 64, .beta_fast = 16}));
  check({.rotary_dim = 32, .scaling = RopeScaling::llama3, .factor = 8, .trained_window = 64, .high_freq_factor = 3},
        dca::llama3_frequencies(32, 1e4, {.factor = 8, .high_freq_factor = 3, .trained_window = 64}));
  check({.rotary_dim = 32, .pairing = compiled::RopePairing::interleaved}, dca::plain_frequencies(32, 1e4),
        dca::RopePairing::interleaved);
  const std::vector<double> own{0.5, 0.25, 0.01};
  check({.attention_factor = 1.5, .inv_freq = own}, {.inv_freq = own, .attention_factor = 1.5});
}

TEST_CASE("ragged tensors go through the compiled operator") {
  const auto in = problem<float>(1, 120, 400);
  const std::vector<Index> queries{0, 1, 1, 61, 120}, keys{0, 150, 150, 230, 400};
  const dca::Extents q_shape{120, 4, 32}, k_shape{400, 2, 32};
  const auto q = dca::contiguous(in.query.data(), q_shape);
  const auto k = dca::contiguous(in.key.data(), k_shape);
  const auto v = dca::contiguous(in.value.data(), k_shape);
  std::vector<float> expected(in.query.size()), actual(in.query.size());
  make_template<float>()(Eigen::DefaultDevice{}, q, dca::RaggedKeyValues<const float, const float>(k, v, keys),
                         dca::contiguous(expected.data(), q_shape), {.cu_seqlens = queries});
  make_compiled<float>()(alone, q, k, v, dca::contiguous(actual.data(), q_shape),
                         {.cu_seqlens = queries, .key_cu_seqlens = keys});
  CHECK(same_bits(actual, expected));
}

namespace {

/// Caches of K and V through their life, as templates and by value; both are asked after each step.
template <class T, class K, class V>
void check_caches(DType key, DType value) {
  INFO("keys of dtype " << static_cast<int>(key) << ", values of " << static_cast<int>(value));
  const auto attention = make_template<T>();
  const auto by_value = make_compiled<T>();
  const auto in = problem<T>(2, 3, 200);
  const dca::CacheShape shape = cache_shape(in.sizes);
  const Operands<T> x = in.operands();
  const Eigen::DefaultDevice device;

  auto expected = attention.template make_cache<K, V>(shape, 2, {.tokens = 150, .grows = true});
  auto cache = by_value.make_cache({key, value}, shape, 2, {.tokens = 150, .grows = true});
  const auto check = [&] {
    CHECK(cache.length(0) == expected.length(0));
    CHECK(cache.capacity() == expected.capacity());
    CHECK(cache.bytes() == expected.bytes());
    Outputs<T> wanted(in);
    attention(device, x.query, expected.view(), wanted.out_view(), {.lse = wanted.lse_view()});
    CHECK(same_bits(run_compiled_on(by_value, in, cache), wanted));
  };
  const auto append = [&](Index first, Index count) {
    expected.append(device, x.key.slice(1, first, count), x.value.slice(1, first, count));
    cache.append(alone, x.key.slice(1, first, count), x.value.slice(1, first, count));
  };
  append(0, 90);
  check();
  append(90, 100);  // grows
  check();
  for (const Index sequence : {0, 1}) {
    expected.truncate(sequence, 33 + sequence);
    cache.truncate(sequence, 33 + sequence);
    expected.append(device, sequence, x.key.slice(1, 10, 50).entry(1), x.value.slice(1, 10, 50).entry(1));
    cache.append(alone, sequence, x.key.slice(1, 10, 50).entry(1), x.value.slice(1, 10, 50).entry(1));
  }
  check();
  expected.copy_prefix(0, 1, 40);
  cache.copy_prefix(0, 1, 40);
  check();
  const std::vector<Index> order{1, 0};
  Outputs<T> wanted(in);
  attention(device, x.query, expected.view(order), wanted.out_view(), {.lse = wanted.lse_view()});
  CHECK(same_bits(run_compiled_on(by_value, in, cache, {.sequences = order}), wanted));

  auto pages = attention.template make_paged_cache<K, V>(shape, 40, 16);
  auto paged = by_value.make_paged_cache({key, value}, shape, 40, 16);
  const auto both = [&](const auto& step) { CHECK(step(pages, device) == step(paged, alone)); };
  both([&](auto& one, const auto& threads) {
    const Index first = one.add(), second = one.add();
    one.append(threads, first, x.key.slice(1, 0, 100).entry(0), x.value.slice(1, 0, 100).entry(0));
    one.append(threads, second, x.key.slice(1, 0, 70).entry(1), x.value.slice(1, 0, 70).entry(1));
    const Index fork = one.fork(first);
    one.append(threads, fork, x.key.slice(1, 100, 30).entry(1), x.value.slice(1, 100, 30).entry(1));
    one.truncate(second, 50);
    one.remove(first);
    return one.length(fork) * 1000 + one.length(second);
  });
  CHECK(paged.free_blocks() == pages.pool().free_blocks());
  CHECK(paged.blocks() == 40);
  CHECK(paged.block_size() == 16);
  CHECK(paged.bytes() == pages.pool().bytes());
  const std::vector<Index> which{2, 1};
  attention(device, x.query, pages.view(which), wanted.out_view(), {.lse = wanted.lse_view()});
  CHECK(same_bits(run_compiled_on(by_value, in, paged, {.sequences = which}), wanted));
}

}  // namespace

TEST_CASE("caches of all storages live as those of the templates") {
  check_caches<float, float, float>(DType::float32, DType::float32);
  check_caches<float, Eigen::half, Eigen::bfloat16>(DType::float16, DType::bfloat16);
  check_caches<float, Eigen::bfloat16, Eigen::half>(DType::bfloat16, DType::float16);
  check_caches<float, dca::Int8, dca::Int4>(DType::int8, DType::int4);
  check_caches<float, dca::Int4, dca::Int8>(DType::int4, DType::int8);
  check_caches<float, double, float>(DType::float64, DType::float32);
  check_caches<double, double, double>(DType::float64, DType::float64);
  check_caches<double, float, dca::Int8>(DType::float32, DType::int8);
}

TEST_CASE("a pool by value lives as that of the templates") {
  const auto attention = make_template<float>();
  const auto by_value = make_compiled<float>();
  const auto in = problem<float>(1, 2, 40);
  const dca::CacheShape shape{.kv_heads = 2, .head_dim = 32, .v_head_dim = 32, .summary_block = 8};
  dca::BlockPool<float> expected(attention.placed_keys(), shape, 8, 16);
  auto pool = by_value.make_pool({}, shape, 8, 16);
  auto larger = by_value.make_pool({}, shape, 4, 32);
  const Operands<float> x = in.operands();
  std::vector<Index> blocks;
  for (int k = 0; k < 3; ++k) {
    blocks.push_back(pool.take());
    CHECK(expected.take() == blocks.back());
  }
  dca::BlockTable table{blocks, 0};
  expected.append(Eigen::DefaultDevice{}, std::span<const dca::BlockTable>(&table, 1), x.key, x.value);
  pool.append(alone, std::span<const dca::BlockTable>(&table, 1), x.key, x.value);
  table.length = 40;
  pool.share(blocks[2]);
  CHECK(pool.users(blocks[2]) == 2);
  pool.give_back(blocks[2]);
  const Index copy = pool.take();
  CHECK(expected.take() == copy);
  pool.copy_tokens(blocks[2], copy, 8);
  expected.copy_tokens(blocks[2], copy, 8);
  blocks[2] = copy;
  CHECK(pool.blocks() == 8);
  CHECK(pool.block_size() == 16);
  CHECK(pool.free_blocks() == expected.free_blocks());
  CHECK(pool.bytes() == expected.bytes());

  const std::span<const dca::BlockTable> tables(&table, 1);
  Outputs<float> wanted(in), got(in);
  attention(Eigen::DefaultDevice{}, x.query, dca::PagedKeyValues(expected, tables), wanted.out_view());
  by_value(alone, x.query, pool, tables, got.out_view());
  CHECK(same_bits(got.out, wanted.out));

  // Into a pool of other blocks, 16 tokens at a time.
  const Index moved = larger.take();
  larger.copy_tokens_from(pool, blocks[0], moved, 16);
  const dca::BlockTable first{std::span<const Index>(&moved, 1), 16};
  const auto few = entry_of(in, 0, 2, 16);
  by_value(alone, few.operands().query, larger, std::span<const dca::BlockTable>(&first, 1), got.out_view());
  CHECK(same_bits(got.out, run(attention, few).out));
}

TEMPLATE_TEST_CASE("policies by value choose as those of the templates", "", float, double) {
  const auto in = problem<TestType>(2, 20, 600);
  const auto attention = make_template<TestType>();
  const auto by_value = make_compiled<TestType>();
  const auto check = [&](const auto& policy, const compiled::Selection& selection) {
    const auto expected = select(attention, in, policy);
    compiled::Choices chosen;
    std::vector<TestType> skipped(expected.skipped.size());
    const auto actual = run_compiled(
        by_value, in,
        {.selection = selection, .skipped = dca::contiguous(skipped.data(), in.lse_shape()), .chosen = &chosen});
    CHECK(same_bits(actual, expected.outputs));
    CHECK(same_bits(skipped, expected.skipped));
    REQUIRE(chosen.size() == std::ssize(expected.chosen));
    for (Index k = 0; k < chosen.size(); ++k) {
      const dca::ChosenBlocks& wanted = expected.chosen[static_cast<std::size_t>(k)];
      const auto given = chosen[k];
      CHECK(given.sequence == wanted.query.sequence);
      CHECK(given.kv_head == wanted.query.kv_head);
      CHECK(given.queries == wanted.query.queries);
      CHECK(given.keys == wanted.query.keys);
      CHECK(std::equal(given.blocks.begin(), given.blocks.end(), wanted.blocks.begin(), wanted.blocks.end()));
    }
    CHECK_THROWS_WITH(chosen[chosen.size()], contains("choice: "));
    chosen.clear();
    CHECK(chosen.size() == 0);
  };
  using compiled::Policy;
  check(dca::TopBlocks{.keys = 96, .block = 24, .query_block = 10, .trust_in_bound = 0.5},
        {.policy = Policy::top_blocks, .keys = 96, .block = 24, .query_block = 10, .trust_in_bound = 0.5});
  check(dca::FirstAndRecent{.first = 20, .recent = 50, .block = 10},
        {.policy = Policy::first_and_recent, .first = 20, .recent = 50, .block = 10});

  const dca::CacheShape shape{.kv_heads = 2, .head_dim = 32, .v_head_dim = 32, .summary_block = 24};
  const dca::TopBlocks policy{.keys = 96, .block = 24};
  auto expected = attention.template make_cache<Eigen::half>(shape, 2, {.tokens = 600});
  auto cache = by_value.make_cache({DType::float16}, shape, 2, {.tokens = 600});
  expected.append(Eigen::DefaultDevice{}, in.operands().key, in.operands().value);
  cache.append(alone, in.operands().key, in.operands().value);
  CHECK(same_bits(
      run_compiled_on(by_value, in, cache, {.selection = {.policy = Policy::top_blocks, .keys = 96, .block = 24}}),
      select_on(attention, in, expected.view(), policy).outputs));
}

TEST_CASE("parts of one's own go through the compiled operator") {
  const dca::ChunkLayout layout(chunks);
  const auto parts = compiled::own_parts<dca::InterChunk, dca::SuccessiveChunk, dca::IntraChunk>(layout);
  auto config = config_of(compiled::Composition::causal, DType::float32);
  config.own_parts = &parts;
  const compiled::Attention attention(config);
  const auto in = problem<float>(1, 50, 200);
  CHECK(same_bits(run_compiled(attention, in), run(make_template<float>(), in)));
  auto cache = attention.make_cache({}, cache_shape(in.sizes), 1, {.tokens = 200});
  cache.append(alone, in.operands().key, in.operands().value);
  CHECK(same_bits(run_compiled_on(attention, in, cache),
                  run_on(make_template<float>(), in, filled_cache<float>(make_template<float>(), in).view())));
  // Another layout object is another layout, as far as the operator can know.
  CHECK_THROWS_WITH(run_compiled_on(make_compiled<float>(), in, cache), contains("another chunk layout"));
}

TEST_CASE("threads of any kind give the same bits") {
  const auto in = problem<float>(2, 64, 3000);
  const auto attention = make_compiled<float>();
  const auto expected = run_compiled(attention, in);
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  CHECK(same_bits(run_compiled(attention, in, {}, dca::executor_of(device)), expected));
  const compiled::Threads threads(3);
  CHECK(same_bits(run_compiled(attention, in, {}, threads.executor()), expected));
  CHECK(threads.executor().threads == 3);
  CHECK(compiled::Threads(1).executor().pool == nullptr);
  // One that runs all at once, and one that cannot.
  int runs = 0;
  const dca::Executor at_once{&runs, 4, [](void* place, void (*run)(void*), void* argument) {
                                ++*static_cast<int*>(place);
                                run(argument);
                                return true;
                              }};
  CHECK(same_bits(run_compiled(attention, in, {}, at_once), expected));
  CHECK(runs > 0);
  const dca::Executor full{&runs, 4, [](void*, void (*)(void*), void*) { return false; }};
  CHECK(same_bits(run_compiled(attention, in, {}, full), expected));
  CHECK_THROWS_WITH(compiled::Threads(0), contains("threads: 0; must be from 1 to 4096"));

  // Templates take the same executors.
  CHECK(same_bits(run(make_template<float>(), in, {}, threads.executor()), expected));
}

#if defined(__linux__) && !defined(DCA_TEST_SANITIZED)  // sanitizers take more memory than is allowed there
TEST_CASE("threads that the system does not give are an error") {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // with room for a few hundred threads; it must not wait for the others
    alarm(60);
    const rlimit limit{Index{3} << 30, Index{3} << 30};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(2);
    try {
      const compiled::Threads threads(4096);
    } catch (const std::system_error&) {
      _exit(0);
    } catch (...) {
    }
    _exit(1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif

TEMPLATE_TEST_CASE("merge by value is that of the templates", "", float, double) {
  const auto in = problem<TestType>(1, 60, 200);
  const auto inter = run_compiled(make_compiled<TestType>(compiled::Composition::inter_chunk), in);
  const auto before = run_compiled(make_compiled<TestType>(compiled::Composition::successive_chunk), in);
  const auto own = run_compiled(make_compiled<TestType>(compiled::Composition::intra_chunk), in);
  const std::vector<TestType> sinks{TestType(0.5), TestType(-1), TestType(2), TestType(0)};
  Outputs<TestType> expected(in), actual(in);
  merge_states({inter.state(), before.state(), own.state()}, expected, std::span<const TestType>(sinks));
  const compiled::ConstPartialState states[] = {{inter.state().out, inter.state().lse},
                                                {before.state().out, before.state().lse},
                                                {own.state().out, own.state().lse}};
  compiled::merge(alone, states, {actual.out_view(), actual.lse_view()}, compiled::contiguous(sinks.data(), {4}));
  CHECK(same_bits(actual, expected));
  CHECK_THROWS_WITH(compiled::merge(alone, {}, {actual.out_view(), actual.lse_view()}), contains("states: none"));
  std::vector<float> wrong(actual.out.size());
  if constexpr (std::is_same_v<TestType, double>) {
    const compiled::ConstPartialState mixed[] = {{dca::contiguous(wrong.data(), in.out_shape()), own.state().lse}};
    CHECK_THROWS_WITH(compiled::merge(alone, mixed, {actual.out_view(), actual.lse_view()}),
                      contains("states: float32; must be float64"));
  }
}

TEST_CASE("the map of positions is the definition's") {
  const auto attention = make_compiled<float>();
  const auto positions = reference::dual_chunk(chunks.chunk_size, chunks.local_window);
  constexpr Index first_query = 90, queries = 100, first_key = 3, keys = 250;
  std::vector<Index> map(queries * keys);
  attention.position_map(first_query, queries, first_key, keys, map.data());
  for (Index i = 0; i < queries; ++i) {
    for (Index j = 0; j < keys; ++j) {
      const auto at = positions(first_query + i, first_key + j);
      const Index wanted = at ? at->query - at->key : compiled::unseen;
      if (map[static_cast<std::size_t>(i * keys + j)] != wanted) FAIL("query " << i << ", key " << j);
    }
  }
  CHECK_THROWS_WITH(attention.position_map(-1, 1, 0, 1, map.data()), contains("first_query: -1"));
  CHECK_THROWS_WITH(attention.position_map(0, Index{1} << 40, 0, Index{1} << 40, map.data()), contains("overflows"));
  CHECK_THROWS_WITH(attention.position_map(0, 1, 0, 1, nullptr), contains("out: no data"));
}

TEST_CASE("sizes to try, kernels and version") {
  std::vector<dca::ChunkConfig> sizes(3);
  const auto wanted = dca::chunk_sizes_to_try(4096);
  CHECK(compiled::chunk_sizes_to_try(4096, sizes) == std::ssize(wanted));
  CHECK(sizes[2].chunk_size == wanted[2].chunk_size);
  CHECK(compiled::local_windows_to_try(4096, 2048, {}) == std::ssize(dca::local_windows_to_try(4096, 2048)));
  CHECK_THROWS_WITH(compiled::chunk_sizes_to_try(1, sizes), contains("trained window: 1"));
  CHECK(compiled::kernels_in_use().instruction_set == std::string(dca::kernel_info().instruction_set));
  CHECK(compiled::version() == std::string(DCA_TEST_VERSION));
}

TEST_CASE("errors of the compiled operator are those of the templates") {
  const auto in = problem<float>(1, 4, 50);
  const Operands<float> x = in.operands();
  Outputs<float> out(in);
  const auto attention = make_template<float>();
  const auto by_value = make_compiled<float>();
  const Eigen::DefaultDevice device;
  const auto both = [&](auto query, auto key, auto value, auto result, std::optional<Index> q_offset = {}) {
    check_same_words([&] { attention(device, query, key, value, result, {.q_offset = q_offset}); },
                     [&] { by_value(alone, query, key, value, result, {.q_offset = q_offset}); });
  };
  both(x.query, x.key.slice(1, 0, 3), x.value, out.out_view());
  both(x.query, x.key, x.value, out.out_view().slice(1, 0, 3));
  both(x.query, x.key, x.value, out.out_view(), 47);
  both(x.query, x.key, x.value, out.out_view(), -1);
  both(dca::TensorView<const float>{nullptr, x.query.shape, x.query.strides}, x.key, x.value, out.out_view());
  both(dca::TensorView<const float>{x.query.data, {4, 2}, {2, 1}}, x.key, x.value, out.out_view());
  const auto in_place = dca::TensorView<float>{const_cast<float*>(x.query.data), x.query.shape, x.query.strides};
  both(x.query, x.key, x.value, in_place);

  const auto config = [](auto change) {
    auto wrong = config_of(compiled::Composition::dual_chunk, DType::float32);
    change(wrong);
    return words_of([&] { compiled::Attention made(wrong); });
  };
  const auto rope = make_ropes(rotary_dim).library;
  const auto expected = [&](dca::ChunkConfig sizes, std::optional<double> scale, std::optional<double> cap) {
    return words_of([&] {
      dca::DualChunkAttention<float> made(
          {.chunks = sizes, .rope = rope, .softmax_scale = scale, .logit_softcap = cap});
    });
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(config([](auto& c) { c.chunks = {4, 4}; }) == expected({4, 4}, {}, {}));
  CHECK(config([&](auto& c) { c.softmax_scale = nan; }) == expected(chunks, nan, {}));
  CHECK(config([&](auto& c) { c.logit_softcap = nan; }) == expected(chunks, {}, nan));
  CHECK(config([](auto& c) { c.rope.rotary_dim = 3; }) == words_of([] { dca::plain_frequencies(3, 1e4); }));
  CHECK(config([&](auto& c) { c.rope.theta = nan; }) == words_of([&] { dca::plain_frequencies(2, nan); }));
  CHECK(config([&](auto& c) { c.rope.attention_factor = nan; }) ==
        words_of([&] { dca::RotaryEmbedding made({.inv_freq = {1.0}, .attention_factor = nan}); }));
  const auto wrong_enum = [](int value) { return static_cast<DType>(value); };
  CHECK(config([&](auto& c) { c.scalar = wrong_enum(9); }) == "dca: scalar: dtype 9; must be float32 or float64");
  CHECK(config([](auto& c) { c.scalar = DType::float16; }) == "dca: scalar: float16; must be float32 or float64");
  CHECK(config([](auto& c) { c.composition = static_cast<compiled::Composition>(7); }) ==
        "dca: composition: 7; must be dual_chunk, causal, intra_chunk, successive_chunk or inter_chunk");
  CHECK(config([](auto& c) { c.rope.scaling = static_cast<compiled::RopeScaling>(-1); }) ==
        "dca: rope scaling: -1; must be none, linear, ntk, dynamic_ntk, yarn or llama3");
  CHECK(config([](auto& c) { c.rope.pairing = static_cast<compiled::RopePairing>(2); }) ==
        "dca: rope pairing: 2; must be half or interleaved");
  const compiled::OwnParts none{};
  CHECK(config([&](auto& c) { c.own_parts = &none; }) == "dca: own_parts: none; must be at least 1");
}

TEST_CASE("what only the compiled operator can be told is refused by name") {
  const auto in = problem<float>(1, 4, 50);
  const Operands<float> x = in.operands();
  Outputs<float> out(in);
  const std::vector<float> untouched = out.out;
  const auto by_value = make_compiled<float>();
  const auto call = [&](const compiled::ConstTensor& query, const compiled::CallOptions& options) {
    return words_of([&] { by_value(alone, query, x.key, x.value, out.out_view(), options); });
  };
  compiled::ConstTensor query = x.query;
  query.dtype = DType::int8;
  CHECK(call(query, {}) == "dca: query: int8; must be that of a number: float32, float64, float16 or bfloat16");
  query = x.query;
  query.rank = 5;
  CHECK(call(query, {}) == "dca: query: rank 5; must be from 0 to 4");
  std::vector<double> lse(out.lse.size());
  CHECK(call(x.query, {.lse = dca::contiguous(lse.data(), in.lse_shape())}) ==
        "dca: lse: float64; must be float32, the scalar");
  const std::vector<float> sinks(4);
  CHECK(call(x.query, {.sink_logits = compiled::contiguous(sinks.data(), {2, 2})}).find("dca: sink_logits: shape") ==
        0);
  CHECK(call(x.query, {.sink_logits = compiled::contiguous(sinks.data(), {3})}).find("dca: sink_logits: size 3") == 0);
  const std::vector<Index> some{0};
  CHECK(call(x.query, {.sequences = some}) == "dca: sequences: given; must be left out for keys and values in tensors");
  CHECK(call(x.query, {.selection = {.policy = static_cast<compiled::Policy>(3)}}) ==
        "dca: selection policy: 3; must be all, first_and_recent or top_blocks");
  CHECK(call(x.query, {.selection = {.policy = compiled::Policy::top_blocks}}) ==
        "dca: TopBlocks keys: -1; must be at least 0");
  CHECK(words_of([&] {
          make_compiled<float>(compiled::Composition::causal)(
              alone, x.query, x.key, x.value, out.out_view(),
              {.selection = {.policy = compiled::Policy::top_blocks, .keys = 1}});
        }) == "dca: selection: a policy; needs a composition with one selectable part, such as dual_chunk");

  auto cache = by_value.make_cache({}, cache_shape(in.sizes), 1, {.tokens = 50});
  cache.append(alone, x.key, x.value);
  const auto on_cache = [&](const compiled::Attention& attention, const compiled::CallOptions& options) {
    return words_of([&] { attention(alone, x.query, cache, out.out_view(), options); });
  };
  CHECK(on_cache(by_value, {.key_cu_seqlens = some}).find("dca: key_cu_seqlens: given") == 0);
  CHECK(on_cache(make_compiled<float>(compiled::Composition::causal), {}).find("dca: cache: made for another") == 0);
  auto other = config_of(compiled::Composition::dual_chunk, DType::float32);
  other.chunks.local_window = 7;
  CHECK(on_cache(compiled::Attention(other), {}) ==
        "dca: cache: made for another chunk layout; must be that of the operator");
  other.chunks = chunks;
  other.rope.theta = 5;
  CHECK(on_cache(compiled::Attention(other), {}).find("dca: cache: made for another rotary embedding") == 0);
  const std::vector<Index> second{1};
  CHECK(on_cache(by_value, {.sequences = second}).find("dca: order: 1") == 0);
  auto paged = by_value.make_paged_cache({}, cache_shape(in.sizes), 1, 50);
  CHECK(words_of([&] { by_value(alone, x.query, paged, out.out_view()); }) ==
        "dca: sequences: not given; must name the sequences of a PagedCache");
  CHECK(words_of([&] {
          by_value.make_cache({static_cast<DType>(6)}, cache_shape(in.sizes), 1, {.tokens = 1});
        }).find("dca: key: dtype 6; must be float32") == 0);
  auto doubles = by_value.make_pool({DType::float64}, cache_shape(in.sizes), 2, 4);
  auto halves = by_value.make_pool({DType::float16}, cache_shape(in.sizes), 2, 4);
  auto floats = by_value.make_pool({}, cache_shape(in.sizes), 2, 4);
  CHECK_THROWS_WITH(floats.copy_tokens_from(doubles, 0, 0, 0), contains("other: holds keys in another scalar"));
  CHECK_THROWS_WITH(floats.copy_tokens_from(halves, 0, 0, 0), contains("other: float16 and float16; must be"));
  CHECK_THROWS_WITH(compiled::contiguous(sinks.data(), {1, 1, 1, 1, 1}), contains("shape: 5 dimensions"));

  compiled::KeyValueCache taken = std::move(cache);
  CHECK(taken.length(0) == 50);
  CHECK_THROWS_WITH(cache.length(0), contains("object: moved from"));  // NOLINT: what is tested
  CHECK(same_bits(out.out, untouched));
}
