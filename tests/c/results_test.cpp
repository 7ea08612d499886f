// The C interface gives the bits of the templates: dense, ragged, on caches and on pools.
#include "support.hpp"

using namespace dca_test;
using namespace dca_test::c;

namespace {

constexpr dca::ChunkConfig chunks{24, 8};
constexpr Index rotary_dim = 16;
const Eigen::DefaultDevice device;

template <class T>
dca::DualChunkAttention<T> templated() {
  return make_chunked<dca::DualChunkAttention<T>>(chunks, rotary_dim);
}

template <class T>
Inputs<T> problem(Index batch, Index q_len, Index kv_len) {
  Random random;
  return Inputs<T>({batch, q_len, kv_len, 4, 2, 32, 32}, random);
}

/// The templates' result, with lse.
template <class T, class Attention, class... Source>
Outputs<T> expected_of(const Attention& attention, const Inputs<T>& in, dca::CallOptions<T> options,
                       const Source&... source) {
  Outputs<T> outputs(in);
  options.lse = outputs.lse_view();
  attention(device, in.operands().query, source..., outputs.out_view(), options);
  return outputs;
}

}  // namespace

TEMPLATE_TEST_CASE("C: tensors, with every option", "", float, double) {
  const Inputs<TestType> in = problem<TestType>(2, 30, 70);
  const std::vector<TestType> sinks{1, 0.5, -1, 2};
  const Operands<TestType> x = in.operands();
  const AttentionHandle attention = make_attention<TestType>(chunks, rotary_dim);
  CHECK(same_bits(run_dense(attention, in, DCA_OPTIONS_INIT), dca_test::run(templated<TestType>(), in)));

  Config config(chunks, rotary_dim, dtype<TestType>);
  config.attention.has_softmax_scale = config.attention.has_logit_softcap = 1;
  config.attention.softmax_scale = 0.3;
  config.attention.logit_softcap = 5;
  config.rope.pairing = DCA_ROPE_PAIRING_INTERLEAVED;
  dca_options options = DCA_OPTIONS_INIT;
  options.has_q_offset = 1;
  options.q_offset = 17;
  options.sink_logits = read(dca::contiguous(sinks.data(), {4}));
  const dca::DualChunkAttention<TestType> other({.chunks = chunks,
                                                 .rope = make_ropes(rotary_dim, 10000.0, 1.0, true).library,
                                                 .softmax_scale = 0.3,
                                                 .logit_softcap = 5});
  CHECK(same_bits(run_dense(config.make(), in, options),
                  expected_of(other, in, {.q_offset = 17, .sink_logits = sinks}, x.key, x.value)));
}

TEST_CASE("C: tensors of several types in one call") {
  const Inputs<float> in = problem<float>(1, 20, 60);
  const auto query = as<Eigen::half>(in.query);
  const auto key = as<Eigen::bfloat16>(in.key);
  const auto value = as<double>(in.value);
  std::vector<Eigen::bfloat16> out(query.size()), expected(query.size());
  const auto q = dca::contiguous(query.data(), in.query_shape());
  const auto k = dca::contiguous(key.data(), in.key_shape());
  const auto v = dca::contiguous(value.data(), in.value_shape());
  templated<float>()(device, q, k, v, dca::contiguous(expected.data(), in.out_shape()));
  const dca_const_tensor a = tensor(q), b = tensor(k), c = tensor(v);
  const dca_tensor to = tensor(dca::contiguous(out.data(), in.out_shape()));
  ok(dca_attend(make_attention<float>(chunks, rotary_dim).get(), nullptr, &a, &b, &c, &to, nullptr));
  CHECK(same_bits(out, expected));
}

TEMPLATE_TEST_CASE("C: ragged queries, keys and values", "", float, double) {
  const Inputs<TestType> in = problem<TestType>(1, 31, 70);
  const std::vector<Index> starts{0, 1, 31}, key_starts{0, 20, 70};
  const Operands<TestType> x = in.operands();
  dca_options options = DCA_OPTIONS_INIT;
  options.cu_seqlens = starts.data();
  options.cu_seqlens_size = std::ssize(starts);
  options.key_cu_seqlens = key_starts.data();
  options.key_cu_seqlens_size = std::ssize(key_starts);
  CHECK(same_bits(run_dense(make_attention<TestType>(chunks, rotary_dim), in, options),
                  expected_of(templated<TestType>(), in, {.cu_seqlens = starts},
                              dca::RaggedKeyValues(x.key, x.value, key_starts))));
}

TEMPLATE_TEST_CASE("C: caches of every storage", "", (std::tuple<float, float, float>),
                   (std::tuple<double, double, double>), (std::tuple<float, Eigen::half, Eigen::bfloat16>),
                   (std::tuple<float, dca::Int8, Eigen::half>), (std::tuple<float, dca::Int4, dca::Int8>)) {
  using T = std::tuple_element_t<0, TestType>;
  using K = std::tuple_element_t<1, TestType>;
  using V = std::tuple_element_t<2, TestType>;
  const Inputs<T> in = problem<T>(2, 9, 70);
  const Operands<T> x = in.operands();
  auto attention = make_attention<T>(chunks, rotary_dim);
  const dca_cache_config config = cache_config<K, V>(in.sizes);
  dca_cache* made = nullptr;
  ok(dca_cache_create(attention.get(), &config, 2, 40, 1, &made));
  const CacheHandle cache(made);
  auto same = templated<T>().template make_cache<K, V>(cache_shape(in.sizes), 2, {.tokens = 40, .grows = true});

  const dca_const_tensor key = tensor(x.key.entry(0)), value = tensor(x.value.entry(0));
  ok(dca_cache_append(cache.get(), nullptr, 0, &key, &value));
  same.append(device, 0, x.key.entry(0), x.value.entry(0));
  ok(dca_cache_truncate(cache.get(), 0, 55));
  same.truncate(0, 55);
  ok(dca_cache_copy_prefix(cache.get(), 0, 1, 30));
  same.copy_prefix(0, 1, 30);
  const auto rest = x.key.slice(1, 55, 15), rest_values = x.value.slice(1, 55, 15);
  const dca_const_tensor more_keys = tensor(rest), more_values = tensor(rest_values);
  ok(dca_cache_append_all(cache.get(), nullptr, &more_keys, &more_values));
  same.append(device, rest, rest_values);

  int64_t number = 0;
  ok(dca_cache_sequences(cache.get(), &number));
  CHECK(number == 2);
  for (const Index sequence : {0, 1}) {
    ok(dca_cache_length(cache.get(), sequence, &number));
    CHECK(number == same.length(sequence));
  }
  ok(dca_cache_capacity(cache.get(), &number));
  CHECK(number == same.capacity());
  ok(dca_cache_bytes(cache.get(), &number));
  CHECK(number == same.bytes());

  const std::vector<Index> swapped{1, 0};
  dca_workspace* kept = nullptr;
  ok(dca_workspace_create(&kept));
  const WorkspaceHandle workspace(kept);
  for (const bool all : {true, false}) {
    dca_options options = DCA_OPTIONS_INIT;
    options.workspace = kept;
    if (!all) {
      options.sequences = swapped.data();
      options.sequence_count = 2;
    }
    const Outputs<T> actual = c::run(in, options, [&](const auto* query, const auto* out, const auto* with) {
      return dca_attend_cache(attention.get(), nullptr, query, cache.get(), out, with);
    });
    CHECK(same_bits(actual, expected_of(templated<T>(), in, {}, all ? same.view() : same.view(swapped))));
  }
  ok(dca_workspace_bytes(kept, &number));
  CHECK(number > 0);

  attention = make_attention<T>(chunks, rotary_dim);  // a cache outlives its operator, and serves one that is alike
  const Outputs<T> again = c::run(in, DCA_OPTIONS_INIT, [&](const auto* query, const auto* out, const auto* with) {
    return dca_attend_cache(attention.get(), nullptr, query, cache.get(), out, with);
  });
  CHECK(same_bits(again, expected_of(templated<T>(), in, {}, same.view())));
}

TEMPLATE_TEST_CASE("C: a paged cache with forks", "", float, double) {
  const Inputs<TestType> in = problem<TestType>(1, 9, 70);
  const Operands<TestType> x = in.operands();
  const AttentionHandle attention = make_attention<TestType>(chunks, rotary_dim);
  dca_cache_config config = cache_config<Eigen::half>(in.sizes);
  config.value_dtype = DCA_DTYPE_NONE;
  dca_paged_cache* made = nullptr;
  ok(dca_paged_cache_create(attention.get(), &config, 30, 7, &made));
  const PagedCacheHandle cache(made);
  auto same = templated<TestType>().template make_paged_cache<Eigen::half>(cache_shape(in.sizes), 30, 7);

  int64_t first = -1, second = -1, number = 0;
  ok(dca_paged_cache_add(made, &first));
  REQUIRE(first == same.add());
  const auto append = [&](Index sequence, Index from, Index count) {
    const auto keys = x.key.entry(0).slice(0, from, count), values = x.value.entry(0).slice(0, from, count);
    const dca_const_tensor key = tensor(keys), value = tensor(values);
    ok(dca_paged_cache_append(made, nullptr, sequence, &key, &value));
    same.append(device, sequence, keys, values);
  };
  append(first, 0, 60);
  ok(dca_paged_cache_fork(made, first, &second));
  REQUIRE(second == same.fork(first));
  append(second, 60, 10);
  ok(dca_paged_cache_truncate(made, second, 65));
  same.truncate(second, 65);
  ok(dca_paged_cache_remove(made, first));
  same.remove(first);

  ok(dca_paged_cache_length(made, second, &number));
  CHECK(number == 65);
  ok(dca_paged_cache_blocks(made, &number));
  CHECK(number == 30);
  ok(dca_paged_cache_free_blocks(made, &number));
  CHECK(number == same.pool().free_blocks());
  ok(dca_paged_cache_block_size(made, &number));
  CHECK(number == 7);
  ok(dca_paged_cache_bytes(made, &number));
  CHECK(number == same.pool().bytes());

  const std::vector<Index> sequences{second};
  dca_options options = DCA_OPTIONS_INIT;
  options.sequences = sequences.data();
  options.sequence_count = 1;
  const Outputs<TestType> actual = c::run(in, options, [&](const auto* query, const auto* out, const auto* with) {
    return dca_attend_paged_cache(attention.get(), nullptr, query, made, out, with);
  });
  CHECK(same_bits(actual, expected_of(templated<TestType>(), in, {}, same.view(sequences))));
}

TEMPLATE_TEST_CASE("C: a pool with tables of the caller's", "", float, double) {
  const Inputs<TestType> in = problem<TestType>(2, 9, 70);
  const Operands<TestType> x = in.operands();
  const AttentionHandle attention = make_attention<TestType>(chunks, rotary_dim);
  const dca_cache_config config = cache_config<TestType>(in.sizes);
  dca_pool* made = nullptr;
  ok(dca_pool_create(attention.get(), &config, 12, 16, &made));
  const PoolHandle pool(made);
  dca::BlockPool<TestType> same(templated<TestType>().placed_keys(), cache_shape(in.sizes), 12, 16);

  std::vector<std::vector<Index>> blocks(2);
  for (int k = 0; k < 10; ++k) {
    int64_t block = -1;
    ok(dca_pool_take(made, &block));
    REQUIRE(block == same.take());
    blocks[static_cast<std::size_t>(k % 2)].push_back(block);
  }
  std::vector<dca_block_table> tables;
  std::vector<dca::BlockTable> same_tables;
  for (const auto& of : blocks) {
    tables.push_back({of.data(), std::ssize(of), 0});
    same_tables.push_back({of, 0});
  }
  const dca_const_tensor key = tensor(x.key), value = tensor(x.value);
  ok(dca_pool_append(made, nullptr, tables.data(), 2, &key, &value));
  same.append(device, std::span<const dca::BlockTable>(same_tables), x.key, x.value);
  for (auto& table : tables) table.length = 70;
  for (auto& table : same_tables) table.length = 70;

  int64_t users = 0, number = 0;
  ok(dca_pool_share(made, 3));
  ok(dca_pool_users(made, 3, &users));
  CHECK(users == 2);
  ok(dca_pool_give_back(made, 3));
  ok(dca_pool_users(made, 3, &users));
  CHECK(users == 1);
  ok(dca_pool_blocks(made, &number));
  CHECK(number == 12);
  ok(dca_pool_free_blocks(made, &number));
  CHECK(number == 2);
  ok(dca_pool_block_size(made, &number));
  CHECK(number == 16);
  ok(dca_pool_bytes(made, &number));
  CHECK(number == same.bytes());

  // The fourth block of the first table gives its place to a copy of a copy in another pool.
  dca_pool* second = nullptr;
  ok(dca_pool_create(attention.get(), &config, 1, 16, &second));
  const PoolHandle other(second);
  int64_t copy = -1, copy_back = -1;
  ok(dca_pool_take(second, &copy));
  ok(dca_pool_copy_tokens_from(second, made, blocks[0][3], copy, 16));
  ok(dca_pool_take(made, &copy_back));
  ok(dca_pool_copy_tokens_from(made, second, copy, copy_back, 16));
  ok(dca_pool_copy_tokens(made, copy_back, blocks[0][3], 16));
  blocks[0][3] = copy_back;

  const std::vector<Index> swapped{1, 0};
  dca_workspace* kept = nullptr;
  ok(dca_workspace_create(&kept));
  const WorkspaceHandle workspace(kept);
  for (const bool all : {true, false}) {
    dca_options options = DCA_OPTIONS_INIT;
    options.workspace = all ? nullptr : kept;
    options.sequences = all ? nullptr : swapped.data();
    options.sequence_count = all ? 0 : 2;
    const Outputs<TestType> actual = c::run(in, options, [&](const auto* query, const auto* out, const auto* with) {
      return dca_attend_pool(attention.get(), nullptr, query, made, tables.data(), 2, out, with);
    });
    std::vector<Index> before = blocks[0];
    before[3] = 6;  // the one that was copied
    const std::vector<dca::BlockTable> uncopied{{before, 70}, {blocks[1], 70}};
    const dca::PagedKeyValues<dca::BlockPool<TestType>> in_order(same, uncopied), reversed(same, uncopied, swapped);
    CHECK(same_bits(actual, expected_of(templated<TestType>(), in, {}, all ? in_order : reversed)));
  }
}

TEMPLATE_TEST_CASE("C: policies, what they chose and what they skipped", "", float, double) {
  const Inputs<TestType> in = problem<TestType>(1, 40, 200);
  const AttentionHandle attention = make_attention<TestType>(chunks, rotary_dim);
  dca_choices* made = nullptr;
  ok(dca_choices_create(&made));
  const ChoicesHandle choices(made);
  std::vector<TestType> skipped(static_cast<std::size_t>(40 * 4));
  dca_selection selection = DCA_SELECTION_INIT;
  dca_options options = DCA_OPTIONS_INIT;
  options.selection = &selection;
  options.chosen = made;
  options.skipped = tensor(dca::contiguous(skipped.data(), in.lse_shape()));

  const auto check = [&](const Selected<TestType>& expected) {
    CHECK(same_bits(run_dense(attention, in, options), expected.outputs));
    CHECK(same_bits(skipped, expected.skipped));
    int64_t size = 0;
    ok(dca_choices_size(made, &size));
    REQUIRE(size == std::ssize(expected.chosen));
    REQUIRE(size > 0);
    for (Index k = 0; k < size; ++k) {
      dca_choice choice = DCA_CHOICE_INIT;
      ok(dca_choices_get(made, k, &choice));
      const dca::ChosenBlocks& one = expected.chosen[static_cast<std::size_t>(k)];
      CHECK(choice.sequence == one.query.sequence);
      CHECK(choice.kv_head == one.query.kv_head);
      CHECK(dca::KeyRange{choice.queries.first, choice.queries.last} == one.query.queries);
      CHECK(dca::KeyRange{choice.keys.first, choice.keys.last} == one.query.keys);
      CHECK(std::vector<Index>(choice.blocks, choice.blocks + choice.block_count) == one.blocks);
    }
    ok(dca_choices_clear(made));
    ok(dca_choices_size(made, &size));
    CHECK(size == 0);
  };
  selection.policy = DCA_POLICY_TOP_BLOCKS;
  selection.keys = 32;
  selection.block = 8;
  selection.query_block = 5;
  selection.trust_in_bound = 0.5;
  const dca::TopBlocks top{.keys = 32, .block = 8, .query_block = 5, .trust_in_bound = 0.5};
  check(select(templated<TestType>(), in, top));
  selection = DCA_SELECTION_INIT;
  selection.policy = DCA_POLICY_FIRST_AND_RECENT;
  selection.first = 8;
  selection.recent = 16;
  selection.block = 8;
  check(select(templated<TestType>(), in, dca::FirstAndRecent{.first = 8, .recent = 16, .block = 8}));
}

TEMPLATE_TEST_CASE("C: partial states and their merge", "", float, double) {
  const Inputs<TestType> in = problem<TestType>(1, 30, 70);
  const std::vector<TestType> sinks{1, 0.5, -1, 2};
  const Operands<TestType> x = in.operands();
  std::vector<Outputs<TestType>> parts;
  Config config(chunks, rotary_dim, dtype<TestType>);
  for (const int32_t part :
       {DCA_COMPOSITION_INTER_CHUNK, DCA_COMPOSITION_SUCCESSIVE_CHUNK, DCA_COMPOSITION_INTRA_CHUNK}) {
    config.attention.composition = part;
    parts.push_back(run_dense(config.make(), in, DCA_OPTIONS_INIT));
  }
  const auto expect = [&]<class Attention>(std::size_t part, const Attention& attention) {
    CHECK(same_bits(parts[part], expected_of(attention, in, {}, x.key, x.value)));
  };
  expect(0, make_chunked<dca::InterChunkAttention<TestType>>(chunks, rotary_dim));
  expect(1, make_chunked<dca::SuccessiveChunkAttention<TestType>>(chunks, rotary_dim));
  expect(2, make_chunked<dca::IntraChunkAttention<TestType>>(chunks, rotary_dim));

  std::vector<dca_const_partial_state> states;
  for (const auto& part : parts) states.push_back({tensor(part.state().out), tensor(part.state().lse)});
  for (const bool with_sinks : {false, true}) {
    Outputs<TestType> merged(in), expected(in);
    const dca_partial_state result{tensor(merged.out_view()), tensor(merged.lse_view())};
    const dca_const_tensor sink_logits = read(dca::contiguous(sinks.data(), {4}));
    ok(dca_merge(nullptr, states.data(), 3, &result, with_sinks ? &sink_logits : nullptr));
    merge_states({parts[0].state(), parts[1].state(), parts[2].state()}, expected,
                 with_sinks ? std::span<const TestType>(sinks) : std::span<const TestType>());
    CHECK(same_bits(merged, expected));
  }
}

TEST_CASE("C: a cache with summaries, which a policy ranks by") {
  const Inputs<float> in = problem<float>(1, 3, 200);
  const Operands<float> x = in.operands();
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  const dca_cache_config config = cache_config<Eigen::half>(in.sizes, 8);
  dca_cache* made = nullptr;
  ok(dca_cache_create(attention.get(), &config, 1, 200, 0, &made));
  const CacheHandle cache(made);
  dca::CacheShape shape = cache_shape(in.sizes);
  shape.summary_block = 8;
  auto same = templated<float>().make_cache<Eigen::half>(shape, 1, {.tokens = 200});
  const dca_const_tensor key = tensor(x.key), value = tensor(x.value);
  ok(dca_cache_append_all(made, nullptr, &key, &value));
  same.append(device, x.key, x.value);
  int64_t bytes = 0;
  ok(dca_cache_bytes(made, &bytes));
  CHECK(bytes == same.bytes());

  dca_selection selection = DCA_SELECTION_INIT;
  selection.policy = DCA_POLICY_TOP_BLOCKS;
  selection.keys = 24;
  selection.block = 8;
  dca_options options = DCA_OPTIONS_INIT;
  options.selection = &selection;
  const Outputs<float> actual = c::run(in, options, [&](const auto* query, const auto* out, const auto* with) {
    return dca_attend_cache(attention.get(), nullptr, query, made, out, with);
  });
  CHECK(same_bits(actual,
                  select_on(templated<float>(), in, same.view(), dca::TopBlocks{.keys = 24, .block = 8}).outputs));
}
