// The compiled operator against the templates: the same bits.
#if defined(__linux__)
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <system_error>

#include "support/by_value.hpp"
#include "support/catch.hpp"
#include "support/sanitized.hpp"

using namespace dca_test;
using namespace dca_test::by_value;

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
