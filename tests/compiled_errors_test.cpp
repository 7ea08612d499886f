// Errors of the compiled operator: those of the templates, and those of what only it can be told.
#include "support/by_value.hpp"
#include "support/catch.hpp"

using namespace dca_test;
using namespace dca_test::by_value;

namespace {

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

TEST_CASE("key offsets that cannot be are refused in the words of the templates, with nothing changed") {
  const auto in = problem<float>(1, 3, 60);
  const Operands<float> x = in.operands();
  const dca::CacheShape shape = cache_shape(in.sizes);
  const auto attention = make_template<float>();
  const auto by_value = make_compiled<float>();
  const Eigen::DefaultDevice device;
  const std::vector<float> numbers = Random(1).normal<float>(128, 4.0);
  const auto offset = dca::contiguous(numbers.data(), {2, 32});

  auto caches = std::pair(attention.make_cache<float>(shape, 2, {.tokens = 60}),
                          by_value.make_cache({}, shape, 2, {.tokens = 60}));
  auto paged = std::pair(attention.make_paged_cache<float>(shape, 8, 16), by_value.make_paged_cache({}, shape, 8, 16));
  auto pools =
      std::pair(dca::BlockPool<float>(attention.placed_keys(), shape, 8, 16), by_value.make_pool({}, shape, 8, 16));
  const auto refused = [](auto& both, const auto& wrong) {
    check_same_words([&] { both.first.set_key_offset(wrong); }, [&] { both.second.set_key_offset(wrong); });
  };
  // The offset that the caches have before stays theirs, with those that are refused.
  const auto refuse_all = [&](auto& both) {
    both.first.set_key_offset(offset);
    both.second.set_key_offset(offset);
    refused(both, dca::contiguous(numbers.data(), {64}));
    refused(both, dca::contiguous(numbers.data(), {1, 2, 32}));
    refused(both, dca::contiguous(numbers.data(), {1, 1, 2, 32}));
    refused(both, dca::contiguous(numbers.data(), {1, 32}));
    refused(both, dca::contiguous(numbers.data(), {4, 32}));
    refused(both, dca::contiguous(numbers.data(), {2, 16}));
    refused(both, dca::contiguous(numbers.data(), {0, 32}));
    refused(both, dca::contiguous(numbers.data(), {2, -32}));
    refused(both, dca::TensorView<const float>());
    refused(both, dca::TensorView<const float>{nullptr, {2, 32}, {32, 1}});
    refused(both, dca::TensorView<const float>{numbers.data(), {2, 32}, {1, 2}});
    refused(both, dca::TensorView<const float>{numbers.data(), {2, 32}, {std::numeric_limits<Index>::max() / 2, 1}});
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      auto wrong = numbers;
      wrong[63] = bad;
      refused(both, dca::contiguous(wrong.data(), {2, 32}));
    }
    std::vector<double> large(64);
    large[5] = 1e200;  // not finite in the scalar
    refused(both, dca::contiguous(large.data(), {2, 32}));

    compiled::ConstTensor wrong = offset;
    wrong.dtype = DType::int8;
    CHECK(words_of([&] { both.second.set_key_offset(wrong); }) ==
          "dca: key_offset: int8; must be that of a number: float32, float64, float16 or bfloat16");
    wrong.dtype = static_cast<DType>(9);
    CHECK(words_of([&] { both.second.set_key_offset(wrong); }) ==
          "dca: key_offset: dtype 9; must be that of a number: float32, float64, float16 or bfloat16");
    wrong = offset;
    wrong.rank = 5;
    CHECK(words_of([&] { both.second.set_key_offset(wrong); }) == "dca: key_offset: rank 5; must be from 0 to 4");
  };
  refuse_all(caches);
  refuse_all(paged);
  refuse_all(pools);

  // After the first token, and with the first block: too late.
  const auto other = dca::contiguous(numbers.data() + 64, {2, 32});
  caches.first.append(device, 1, x.key.entry(0), x.value.entry(0));
  caches.second.append(alone, 1, x.key.entry(0), x.value.entry(0));
  refused(caches, other);
  CHECK(words_of([&] { caches.second.set_key_offset(other); }) ==
        "dca: key_offset: given after 60 tokens; must be given before the first token");
  const std::vector<Index> second{1}, first{0};
  const Outputs<float> expected = run_on(attention, in, caches.first.view(second));
  CHECK(same_bits(run_compiled_on(by_value, in, caches.second, {.sequences = second}), expected));

  const auto fill = [&](auto& one, const auto& threads) {
    const Index sequence = one.add();
    one.append(threads, sequence, x.key.entry(0), x.value.entry(0));
  };
  fill(paged.first, device);
  fill(paged.second, alone);
  refused(paged, other);
  CHECK(words_of([&] { paged.second.set_key_offset(other); }) ==
        "dca: key_offset: given with 4 blocks in use; must be given before the first token");
  CHECK(same_bits(run_compiled_on(by_value, in, paged.second, {.sequences = first}), expected));

  std::vector<Index> blocks;
  const auto take = [&] {
    blocks.push_back(pools.first.take());
    CHECK(pools.second.take() == blocks.back());
  };
  take();
  refused(pools, other);
  CHECK(words_of([&] { pools.second.set_key_offset(other); }) ==
        "dca: key_offset: given with 1 blocks in use; must be given before the first token");
  while (blocks.size() < 4) take();
  dca::BlockTable table{blocks, 0};
  pools.second.append(alone, std::span(&std::as_const(table), 1), x.key, x.value);
  table.length = 60;
  Outputs<float> outputs(in);
  by_value(alone, x.query, pools.second, std::span(&std::as_const(table), 1), outputs.out_view(),
           {.lse = outputs.lse_view()});
  CHECK(same_bits(outputs, expected));

  // Without tokens again, another one is taken.
  for (const Index sequence : {0, 1}) {
    caches.first.truncate(sequence, 0);
    caches.second.truncate(sequence, 0);
  }
  caches.first.set_key_offset(other);
  caches.second.set_key_offset(other);
  caches.first.append(device, 1, x.key.entry(0), x.value.entry(0));
  caches.second.append(alone, 1, x.key.entry(0), x.value.entry(0));
  const Outputs<float> again = run_on(attention, in, caches.first.view(second));
  CHECK(same_bits(run_compiled_on(by_value, in, caches.second, {.sequences = second}), again));
  CHECK_FALSE(same_bits(again, expected));

  compiled::KeyValueCache taken = std::move(caches.second);
  CHECK_THROWS_WITH(caches.second.set_key_offset(offset), contains("object: moved from"));  // NOLINT: what is tested
}

TEST_CASE("keys and options that give no key offset are refused in the words of the templates") {
  const auto in = problem<float>(2, 1, 9);
  const auto rope = make_ropes(rotary_dim).library;
  const auto by_value = make_compiled<float>();
  std::vector<float> offset(64, -7.0F);
  const std::vector<float> untouched = offset;
  const auto refused = [&](dca::TensorView<const float> key, const dca::KeyOffsetOptions& options = {}) {
    check_same_words([&] { dca::estimate_key_offset(rope, key, options); },
                     [&] { by_value.estimate_key_offset(key, offset, options); });
  };
  const auto keys = in.operands().key;
  refused(keys, {.most_pairs = -1});
  refused(keys, {.stands_out = -0.5});
  refused(keys, {.stands_out = std::numeric_limits<double>::quiet_NaN()});
  refused(keys.slice(1, 0, 0));
  refused(keys.slice(0, 0, 0));
  refused(dca::TensorView<const float>());
  refused(dca::contiguous(in.key.data(), {2, 32}));
  refused(dca::contiguous(in.key.data(), {9, 2, 16}));  // fewer than rotary_dim
  refused(dca::contiguous(in.key.data(), {9, 0, 32}));
  refused(dca::contiguous(in.key.data(), {9, -2, 32}));
  refused({nullptr, keys.shape, keys.strides});
  refused({in.key.data(), keys.shape, {1, 1, 1, 2}});
  // More than there can be: nothing is made for it.
  constexpr Index huge = std::numeric_limits<Index>::max();
  refused({in.key.data(), {1, huge, huge}, {0, 0, 1}});
  refused({nullptr, {1, 2, Index{1} << 58}, {0, 0, 1}});
  refused({in.key.data(), {0, 2, Index{1} << 58}, {0, 0, 1}});

  const auto words = [&](const compiled::ConstTensor& key, std::span<float> to) {
    return words_of([&] { by_value.estimate_key_offset(key, to); });
  };
  for (const std::size_t size : {std::size_t{0}, std::size_t{63}}) {
    CHECK(words(keys, std::span(offset).first(size)) ==
          "dca: key_offset: size " + std::to_string(size) + "; must be kv_heads times head_dim, 64");
  }
  compiled::ConstTensor wrong = keys;
  wrong.dtype = DType::int4;
  CHECK(words(wrong, offset) == "dca: key: int4; must be that of a number: float32, float64, float16 or bfloat16");
  wrong = keys;
  wrong.rank = -1;
  CHECK(words(wrong, offset) == "dca: key: rank -1; must be from 0 to 4");
  CHECK(same_bits(offset, untouched));
}
