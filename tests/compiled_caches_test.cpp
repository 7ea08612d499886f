// Caches, pools and policies of the compiled operator against those of the templates: the same bits.
#include "support/by_value.hpp"
#include "support/catch.hpp"

using namespace dca_test;
using namespace dca_test::by_value;

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
  for (const bool has_offset : {false, true}) {
    auto expected = attention.template make_cache<Eigen::half>(shape, 2, {.tokens = 600});
    auto cache = by_value.make_cache({DType::float16}, shape, 2, {.tokens = 600});
    if (has_offset) {
      Random random;
      const std::vector<TestType> numbers = random.normal<TestType>(2 * 32, 8.0);
      const auto offset = dca::contiguous(numbers.data(), {2, 32});
      expected.set_key_offset(offset);
      cache.set_key_offset(offset);
    }
    expected.append(Eigen::DefaultDevice{}, in.operands().key, in.operands().value);
    cache.append(alone, in.operands().key, in.operands().value);
    CHECK(same_bits(
        run_compiled_on(by_value, in, cache, {.selection = {.policy = Policy::top_blocks, .keys = 96, .block = 24}}),
        select_on(attention, in, expected.view(), policy).outputs));
  }
}
