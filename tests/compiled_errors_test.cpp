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
