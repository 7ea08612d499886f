// Key offsets in C give the bits of the compiled operator.
#include <dca/compiled.hpp>

#include "support.hpp"

using namespace dca_test;
using namespace dca_test::c;

namespace {

constexpr dca::ChunkConfig chunks{24, 8};
constexpr Index rotary_dim = 16;

dca::compiled::Attention compiled_operator() {
  dca::compiled::AttentionConfig config{.chunks = chunks};
  config.rope.rotary_dim = rotary_dim;
  return dca::compiled::Attention(config);
}

/// A problem whose keys have a bias in some features.
Inputs<float> biased_problem(Index q_len, Index kv_len) {
  Random random;
  Inputs<float> in({1, q_len, kv_len, 4, 2, 32, 32}, random);
  for (std::size_t k = 0; k < in.key.size(); ++k) in.key[k] += k % 64 % 13 == 5 ? 20.0F : 0.0F;
  return in;
}

}  // namespace

TEMPLATE_TEST_CASE("C: a key offset is estimated as by the compiled operator", "", float, double, Eigen::half) {
  const Inputs<float> in = biased_problem(1, 40);
  const auto key = as<TestType>(in.key);
  const auto keys = dca::contiguous(key.data(), in.key_shape());
  const dca_const_tensor given = tensor(keys);
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  dca_key_offset_options options = DCA_KEY_OFFSET_OPTIONS_INIT;
  CHECK(options.most_pairs == dca::KeyOffsetOptions().most_pairs);
  CHECK(options.stands_out == dca::KeyOffsetOptions().stands_out);
  const auto check = [&](const dca_key_offset_options* with, const dca::KeyOffsetOptions& same) {
    std::vector<float> offset(64), expected(64);
    ok(dca_estimate_key_offset(attention.get(), &given, with, offset.data(), 64));
    compiled_operator().estimate_key_offset(keys, expected, same);
    CHECK(same_bits(offset, expected));
    CHECK(std::count(offset.begin(), offset.end(), 0) < 64);
  };
  check(nullptr, {});
  check(&options, {});
  options.most_pairs = 3;
  check(&options, {.most_pairs = 3});
  options.most_pairs = 16;
  options.stands_out = 0.01;  // nearly all pairs
  check(&options, {.most_pairs = 16, .stands_out = 0.01});
}

TEST_CASE("C: caches and pools with a key offset give the bits of the compiled operator") {
  const Inputs<float> in = biased_problem(9, 300);
  const Operands<float> x = in.operands();
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  const auto by_value = compiled_operator();
  const dca::CacheShape shape = cache_shape(in.sizes);
  const dca_const_tensor key = tensor(x.key), value = tensor(x.value);
  const dca::Executor alone{};
  const auto check = [&](const auto& offset) {
    const dca_const_tensor key_offset = tensor(offset);
    const dca_cache_config config = cache_config<dca::Int8, Eigen::half>(in.sizes);
    const dca::compiled::StorageTypes types{dca::compiled::DType::int8, dca::compiled::DType::float16};
    Outputs<float> expected(in);

    dca_cache* cache = nullptr;
    ok(dca_cache_create(attention.get(), &config, 1, 100, 1, &cache));
    const CacheHandle keeps_cache(cache);
    auto same_cache = by_value.make_cache(types, shape, 1, {.tokens = 100, .grows = true});
    ok(dca_cache_set_key_offset(cache, &key_offset));
    same_cache.set_key_offset(offset);
    ok(dca_cache_append_all(cache, nullptr, &key, &value));
    same_cache.append(alone, x.key, x.value);
    by_value(alone, x.query, same_cache, expected.out_view(), {.lse = expected.lse_view()});
    CHECK(same_bits(run(in, DCA_OPTIONS_INIT,
                        [&](const auto* query, const auto* out, const auto* with) {
                          return dca_attend_cache(attention.get(), nullptr, query, cache, out, with);
                        }),
                    expected));
    auto plain = by_value.make_cache(types, shape, 1, {.tokens = 300});
    plain.append(alone, x.key, x.value);
    Outputs<float> without(in);
    by_value(alone, x.query, plain, without.out_view(), {.lse = without.lse_view()});
    CHECK_FALSE(same_bits(without, expected));

    dca_paged_cache* paged = nullptr;
    ok(dca_paged_cache_create(attention.get(), &config, 20, 16, &paged));
    const PagedCacheHandle keeps_paged(paged);
    ok(dca_paged_cache_set_key_offset(paged, &key_offset));
    int64_t sequence = -1;
    ok(dca_paged_cache_add(paged, &sequence));
    ok(dca_paged_cache_append(paged, nullptr, sequence, &key, &value));
    dca_options options = DCA_OPTIONS_INIT;
    options.sequences = &sequence;
    options.sequence_count = 1;
    CHECK(same_bits(run(in, options,
                        [&](const auto* query, const auto* out, const auto* with) {
                          return dca_attend_paged_cache(attention.get(), nullptr, query, paged, out, with);
                        }),
                    expected));

    dca_pool* pool = nullptr;
    ok(dca_pool_create(attention.get(), &config, 3, 100, &pool));
    const PoolHandle keeps_pool(pool);
    ok(dca_pool_set_key_offset(pool, &key_offset));
    int64_t blocks[3];
    for (int64_t& block : blocks) ok(dca_pool_take(pool, &block));
    dca_block_table table{blocks, 3, 0};
    ok(dca_pool_append(pool, nullptr, &table, 1, &key, &value));
    table.length = 300;
    CHECK(same_bits(run(in, DCA_OPTIONS_INIT,
                        [&](const auto* query, const auto* out, const auto* with) {
                          return dca_attend_pool(attention.get(), nullptr, query, pool, &table, 1, out, with);
                        }),
                    expected));
  };
  std::vector<float> offset(64);
  ok(dca_estimate_key_offset(attention.get(), &key, nullptr, offset.data(), 64));
  const auto halves = as<Eigen::half>(offset);
  const auto doubles = as<double>(offset);
  check(dca::contiguous(std::as_const(offset).data(), {2, 32}));
  check(dca::contiguous(halves.data(), {2, 32}));
  check(dca::contiguous(doubles.data(), {2, 32}));
}
