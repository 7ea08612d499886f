// Key offsets of caches and pools by value against those of the templates: the same bits.
#include "support/by_value.hpp"
#include "support/catch.hpp"

using namespace dca_test;
using namespace dca_test::by_value;

namespace {

/// Where offsets turn: within 256 positions and beyond, pairs of both kinds.
struct Setting {
  dca::ChunkConfig chunks;
  bool interleaved;
};
constexpr Setting settings[] = {{chunks, true}, {{640, 100}, false}, {{640, 100}, true}};

template <class T>
dca::DualChunkAttention<T> template_of(const Setting& setting) {
  return dca::DualChunkAttention<T>(
      {.chunks = setting.chunks, .rope = make_ropes(rotary_dim, 10000.0, 1.0, setting.interleaved).library});
}

compiled::AttentionConfig config_of(const Setting& setting, DType scalar) {
  auto config = by_value::config_of(compiled::Composition::dual_chunk, scalar);
  config.chunks = setting.chunks;
  config.rope.pairing = setting.interleaved ? compiled::RopePairing::interleaved : compiled::RopePairing::half;
  return config;
}

/// Keys with a bias, of few pairs of features in one kv_head and of all in the other, and the bias.
template <class T>
struct Biased {
  Inputs<T> in;
  std::vector<T> bias;

  Biased(Index batch, Index kv_len) : in(problem<T>(batch, 1, kv_len)) {
    Random random(1);
    bias = random.normal<T>(in.sizes.kv_heads * in.sizes.head_dim, 8.0);
    for (Index d = 0; d < in.sizes.head_dim; ++d) {
      T& of = bias[static_cast<std::size_t>(d)];
      const bool stands_out = d % 7 == 3 || d == 25;  // 25: beyond rotary_dim
      of = stands_out ? std::copysign(std::abs(of) + T{6}, of) : T{0};
    }
    for (std::size_t k = 0; k < in.key.size(); ++k) in.key[k] += bias[k % bias.size()];
  }
};

/// Both on queries of a prefill and of decoding; `length` is that of two sequences.
template <class T, class View, class Call>
void check_queries(const dca::DualChunkAttention<T>& attention, const View& view, Index length, const Call& by_value) {
  for (const Index q_len : {Index{1}, Index{3}, std::min<Index>(length, 130)}) {
    INFO(q_len << " queries, " << length << " keys");
    const auto few = problem<T>(2, q_len, length);
    CHECK(same_bits(by_value(few), run_on(attention, few, view)));
  }
}

/// Caches and pools of K and V with an offset, which is given as numbers X, as keys of the pool are.
template <class T, class K, class V, class X>
void check_offset(DType key, DType value, const Setting& setting) {
  INFO("keys of dtype " << static_cast<int>(key) << ", values of " << static_cast<int>(value) << ", chunk_size "
                        << setting.chunks.chunk_size << ", interleaved " << setting.interleaved);
  constexpr Index length = 620;
  const auto attention = template_of<T>(setting);
  const compiled::Attention by_value(config_of(setting, compiled::DTypeOf<T>::value));
  const Biased<T> biased(2, length);
  const auto& in = biased.in;
  const std::vector<X> numbers = as<X>(biased.bias);
  const auto offset = dca::contiguous(numbers.data(), {in.sizes.kv_heads, in.sizes.head_dim});
  const dca::CacheShape shape = cache_shape(in.sizes);
  const Operands<T> x = in.operands();
  const Eigen::DefaultDevice device;

  auto expected = attention.template make_cache<K, V>(shape, 2, {.tokens = 250, .grows = true});
  auto cache = by_value.make_cache({key, value}, shape, 2, {.tokens = 250, .grows = true});
  expected.set_key_offset(offset);
  cache.set_key_offset(offset);
  const auto on_cache = [&](const Inputs<T>& few) { return run_compiled_on(by_value, few, cache); };
  Index first = 0;
  for (const Index last : {50, 51, 250, 255, 256, 257, 541, 620}) {  // to and over edges of chunks, and of 256
    expected.append(device, x.key.slice(1, first, last - first), x.value.slice(1, first, last - first));
    cache.append(alone, x.key.slice(1, first, last - first), x.value.slice(1, first, last - first));
    check_queries(attention, expected.view(), last, on_cache);
    first = last;
  }
  CHECK(cache.bytes() == expected.bytes());

  auto plain = by_value.make_cache({key, value}, shape, 2, {.tokens = length});
  plain.append(alone, x.key, x.value);
  CHECK_FALSE(same_bits(run_compiled_on(by_value, in, plain), run_compiled_on(by_value, in, cache)));

  const auto cut = [](auto& one) {
    one.truncate(0, 300);
    one.copy_prefix(0, 1, 300);
  };
  cut(expected);
  cut(cache);
  check_queries(attention, expected.view(), 300, on_cache);

  auto pages = attention.template make_paged_cache<K, V>(shape, 90, 16);
  auto paged = by_value.make_paged_cache({key, value}, shape, 90, 16);
  const auto fill = [&](auto& one, const auto& threads) {
    one.set_key_offset(offset);
    const Index sequence = one.add();
    one.append(threads, sequence, x.key.slice(1, 0, 270).entry(0), x.value.slice(1, 0, 270).entry(0));
    const Index fork = one.fork(sequence);
    one.append(threads, sequence, x.key.slice(1, 270, 350).entry(0), x.value.slice(1, 270, 350).entry(0));
    one.append(threads, fork, x.key.slice(1, 270, 350).entry(1), x.value.slice(1, 270, 350).entry(1));
  };
  fill(pages, device);
  fill(paged, alone);
  const std::vector<Index> order{1, 0};
  check_queries(attention, pages.view(order), length,
                [&](const Inputs<T>& few) { return run_compiled_on(by_value, few, paged, {.sequences = order}); });

  dca::BlockPool<K, dca::ChunkOffset, V> blocks(attention.placed_keys(), shape, 80, 16);
  auto pool = by_value.make_pool({key, value}, shape, 80, 16);
  blocks.set_key_offset(offset);
  pool.set_key_offset(offset);
  std::vector<Index> taken[2];
  for (std::size_t k = 0; k < 78; ++k) {
    taken[k % 2].push_back(pool.take());
    CHECK(blocks.take() == taken[k % 2].back());
  }
  std::vector<dca::BlockTable> tables{{taken[0], 0}, {taken[1], 0}};
  const std::vector<X> key_numbers = as<X>(in.key);
  const auto keys = dca::contiguous(key_numbers.data(), in.key_shape());
  blocks.append(device, std::span<const dca::BlockTable>(tables), keys, x.value);
  pool.append(alone, tables, keys, x.value);
  for (auto& table : tables) table.length = length;
  check_queries(attention, dca::PagedKeyValues(blocks, std::span<const dca::BlockTable>(tables)), length,
                [&](const Inputs<T>& few) {
                  Outputs<T> outputs(few);
                  by_value(alone, few.operands().query, pool, tables, outputs.out_view(), {.lse = outputs.lse_view()});
                  return outputs;
                });
}

}  // namespace

TEST_CASE("caches and pools with a key offset give the bits of the templates") {
  for (const Setting& setting : settings) {
    check_offset<float, float, float, float>(DType::float32, DType::float32, setting);
    check_offset<float, Eigen::half, Eigen::bfloat16, Eigen::half>(DType::float16, DType::bfloat16, setting);
    check_offset<float, Eigen::bfloat16, Eigen::half, double>(DType::bfloat16, DType::float16, setting);
    check_offset<float, dca::Int8, dca::Int4, float>(DType::int8, DType::int4, setting);
    check_offset<float, dca::Int4, dca::Int8, Eigen::bfloat16>(DType::int4, DType::int8, setting);
    check_offset<float, double, float, float>(DType::float64, DType::float32, setting);
    check_offset<double, double, double, double>(DType::float64, DType::float64, setting);
    check_offset<double, float, dca::Int8, Eigen::half>(DType::float32, DType::int8, setting);
  }
}

TEST_CASE("plain attention by value reads caches with a key offset") {
  const auto attention = Pair<float, dca::CausalAttention>::templated();
  const auto by_value = make_compiled<float>(compiled::Composition::causal);
  const Biased<float> biased(1, 700);
  const Operands<float> x = biased.in.operands();
  const auto offset = dca::contiguous(biased.bias.data(), {2, 32});
  auto expected = attention.make_cache<dca::Int8>(cache_shape(biased.in.sizes), 1, {.tokens = 700});
  auto cache = by_value.make_cache({DType::int8}, cache_shape(biased.in.sizes), 1, {.tokens = 700});
  expected.set_key_offset(offset);
  cache.set_key_offset(offset);
  expected.append(Eigen::DefaultDevice{}, x.key, x.value);
  cache.append(alone, x.key, x.value);
  for (const Index q_len : {1, 3, 90}) {
    const auto few = problem<float>(1, q_len, 700);
    CHECK(same_bits(run_compiled_on(by_value, few, cache), run_on(attention, few, expected.view())));
  }
}

TEST_CASE("parts of one's own read caches with a key offset, whether or not they know runs of keys") {
  for (const Setting& setting : settings) {
    const dca::ChunkLayout layout(setting.chunks);
    const auto own = compiled::own_parts<dca::InterChunk, dca::SuccessiveChunk, dca::IntraChunk>(layout);
    std::vector<dca::PartFunctions> without_runs(own.parts.begin(), own.parts.end());
    for (dca::PartFunctions& part : without_runs) {
      REQUIRE(part.key_run != nullptr);
      part.key_run = nullptr;
    }
    const Biased<float> biased(2, 620);
    const Operands<float> x = biased.in.operands();
    const auto attention = template_of<float>(setting);
    const auto check = [&](DType storage, const auto& view, const compiled::OwnParts& parts) {
      INFO("dtype " << static_cast<int>(storage) << ", placed " << parts.share_key_positions);
      auto config = config_of(setting, DType::float32);
      config.own_parts = &parts;
      const compiled::Attention by_value(config);
      auto cache = by_value.make_cache({storage}, cache_shape(biased.in.sizes), 2, {.tokens = 620});
      cache.set_key_offset(dca::contiguous(biased.bias.data(), {2, 32}));
      cache.append(alone, x.key, x.value);
      check_queries(attention, view, 620,
                    [&](const Inputs<float>& few) { return run_compiled_on(by_value, few, cache); });
    };
    const auto check_with = [&]<class K>(DType storage, std::type_identity<K>) {
      const auto fill = [&](auto cache) {
        cache.set_key_offset(dca::contiguous(biased.bias.data(), {2, 32}));
        cache.append(Eigen::DefaultDevice{}, x.key, x.value);
        return cache;
      };
      const auto placed = fill(attention.template make_cache<K>(cache_shape(biased.in.sizes), 2, {.tokens = 620}));
      const auto unplaced =
          fill(dca::KeyValueCache<K, dca::Unplaced>({}, cache_shape(biased.in.sizes), 2, {.tokens = 620}));
      for (const std::span<const dca::PartFunctions> parts : {own.parts, std::span(std::as_const(without_runs))}) {
        check(storage, placed.view(), {.parts = parts, .layout = &layout, .share_key_positions = true});
        check(storage, unplaced.view(), {.parts = parts, .layout = &layout, .share_key_positions = false});
      }
    };
    check_with(DType::float32, std::type_identity<float>{});
    check_with(DType::int8, std::type_identity<dca::Int8>{});
  }
}

TEST_CASE("pools by value copy tokens from those with the same key offset") {
  const auto by_value = make_compiled<float>();
  const Biased<float> biased(1, 30);
  const Operands<float> x = biased.in.operands();
  const dca::CacheShape shape = cache_shape(biased.in.sizes);
  const auto make = [&](bool has_offset, float change) {
    auto pool = by_value.make_pool({DType::int8}, shape, 2, 32);
    auto offset = biased.bias;
    offset[40] += change;
    if (has_offset) pool.set_key_offset(dca::contiguous(offset.data(), {2, 32}));
    pool.take();
    return pool;
  };
  auto pool = make(true, 0), same = make(true, 0), other = make(true, 0.5F), none = make(false, 0);
  const Index block = 0;
  const std::span<const Index> blocks(&block, 1);
  const dca::BlockTable empty{blocks, 0}, full{blocks, 30};
  const auto run_on_pool = [&](const compiled::BlockPool& read) {
    const auto in = entry_of(biased.in, 0, 1, 30);
    Outputs<float> outputs(in);
    by_value(alone, in.operands().query, read, std::span(&full, 1), outputs.out_view(), {.lse = outputs.lse_view()});
    return outputs;
  };
  for (compiled::BlockPool* const one : {&pool, &other, &none})
    one->append(alone, std::span(&empty, 1), x.key, x.value);
  const std::string refused = "dca: other: holds keys less another offset; must have the key offset of this pool";
  const auto before = run_on_pool(other);
  CHECK_THROWS_WITH(other.copy_tokens_from(pool, 0, 0, 30), refused);
  CHECK_THROWS_WITH(none.copy_tokens_from(pool, 0, 0, 30), refused);
  CHECK_THROWS_WITH(other.copy_tokens_from(none, 0, 0, 30), refused);
  CHECK(same_bits(run_on_pool(other), before));
  same.copy_tokens_from(pool, 0, 0, 30);
  CHECK(same_bits(run_on_pool(same), run_on_pool(pool)));
}

TEMPLATE_TEST_CASE("a key offset by value is estimated as by the templates", "", float, double, Eigen::half,
                   Eigen::bfloat16) {
  const Biased<float> biased(2, 40);
  const auto key = as<TestType>(biased.in.key);
  const auto keys = dca::contiguous(key.data(), biased.in.key_shape());
  for (const Setting& setting : settings) {
    const auto rope = make_ropes(rotary_dim, 10000.0, 1.0, setting.interleaved).library;
    const compiled::Attention by_value(config_of(setting, DType::float32));
    const auto check = [&](const auto& from, const dca::KeyOffsetOptions& options, bool is_zero) {
      std::vector<float> offset(64, std::numeric_limits<float>::quiet_NaN());
      by_value.estimate_key_offset(from, offset, options);
      CHECK(same_bits(offset, dca::estimate_key_offset(rope, from, options)));
      CHECK(std::all_of(offset.begin(), offset.end(), [](float x) { return x == 0; }) == is_zero);
    };
    check(keys, {}, false);
    check(keys, {.most_pairs = 3, .stands_out = 0.5}, false);
    check(keys, {.most_pairs = 0}, true);
    check(keys, {.stands_out = std::numeric_limits<double>::infinity()}, true);
    check(keys.entry(1), {}, false);
    check(keys.slice(1, 7, 1), {.stands_out = 1}, false);
  }
}
