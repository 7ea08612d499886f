// What a caller can get wrong: each refused by name and value, before anything is written.
#include "support/catch.hpp"
#include "support/problem.hpp"

using namespace dca_test;
using dca::contiguous;
using dca::Extents;

namespace {

constexpr float untouched = -12345.0f;

/// A call that is right, to be spoiled in one place.
struct Call {
  std::vector<float> memory = std::vector<float>(4096, 0.5f);
  std::vector<float> results = std::vector<float>(2048, untouched);
  dca::TensorView<const float> query = contiguous<const float>(memory.data(), {1, 10, 4, 8});
  dca::TensorView<const float> key = contiguous<const float>(memory.data() + 1024, {1, 12, 2, 8});
  dca::TensorView<const float> value = contiguous<const float>(memory.data() + 2048, {1, 12, 2, 8});
  dca::TensorView<float> out = contiguous(results.data(), {1, 10, 4, 8});
  dca::CallOptions<float> options{};
  dca::Index rotary_dim = 8;

  void run() const {
    make_chunked<dca::DualChunkAttention<float>>({6, 2}, rotary_dim)(Eigen::DefaultDevice{}, query, key, value, out,
                                                                     options);
  }
};

/// Spoils a call and checks the message, and that nothing was written.
template <class Spoil>
void check_refused(const std::string& message, const Spoil& spoil) {
  Call call;
  spoil(call);
  CHECK_THROWS_AS(call.run(), std::invalid_argument);
  CHECK_THROWS_WITH(call.run(), contains(message));
  for (const float x : call.results) REQUIRE(x == untouched);
}

}  // namespace

TEST_CASE("a right call writes its output") {
  Call call;
  call.run();
  CHECK(call.results[0] != untouched);
}
TEST_CASE("rank") {
  check_refused("dca: query: rank 2", [](Call& c) { c.query = contiguous<const float>(c.memory.data(), {10, 32}); });
  check_refused("dca: out: rank 1", [](Call& c) { c.out = contiguous(c.results.data(), {320}); });
}
TEST_CASE("lengths that differ") {
  check_refused("dca: value: length 11", [](Call& c) { c.value.shape[1] = 11; });
  check_refused("dca: out: length 9", [](Call& c) { c.out.shape[1] = 9; });
}
TEST_CASE("batches that differ") {
  check_refused("dca: key: batch 2", [](Call& c) { c.key.shape[0] = c.value.shape[0] = 2; });
  check_refused("dca: value: batch 1; must be that of key, 2", [](Call& c) { c.key.shape[0] = 2; });
  check_refused("dca: out: batch 2", [](Call& c) { c.out.shape[0] = 2; });
}
TEST_CASE("heads that differ or do not divide") {
  check_refused("dca: value: kv_heads 1", [](Call& c) { c.value.shape[2] = 1; });
  check_refused("dca: out: heads 2", [](Call& c) { c.out.shape[2] = 2; });
  check_refused("3 kv_heads do not divide the 4 heads", [](Call& c) {
    c.key = contiguous<const float>(c.memory.data() + 1024, {1, 12, 3, 8});
    c.value = contiguous<const float>(c.memory.data() + 2048, {1, 12, 3, 8});
  });
}
TEST_CASE("dims that differ") {
  check_refused("dca: key: head_dim 7", [](Call& c) { c.key.shape[3] = 7; });
  check_refused("dca: out: v_head_dim 4", [](Call& c) { c.out.shape[3] = 4; });
}
TEST_CASE("zero and negative sizes") {
  check_refused("dca: query: shape [1, 10, 0, 8]", [](Call& c) { c.query.shape[2] = 0; });
  check_refused("dca: key: shape [1, 12, 2, -8]", [](Call& c) { c.key.shape[3] = -8; });
  check_refused("dca: query: shape [1, -1, 4, 8]", [](Call& c) { c.query.shape[1] = -1; });
}
TEST_CASE("rotary_dim beyond head_dim") {
  check_refused("dca: rotary_dim: 10", [](Call& c) { c.rotary_dim = 10; });
}
TEST_CASE("queries beyond the keys") {
  check_refused("dca: q_offset: 3", [](Call& c) { c.options.q_offset = 3; });
  check_refused("dca: q_offset: -1", [](Call& c) { c.options.q_offset = -1; });
  check_refused("dca: q_offset: 9223372036854775807",
                [](Call& c) { c.options.q_offset = std::numeric_limits<dca::Index>::max(); });
  check_refused("dca: query: 10 rows", [](Call& c) {
    c.key.shape[1] = 4;
    c.value.shape[1] = 4;
  });
}
TEST_CASE("sizes whose product overflows") {
  check_refused("overflows", [](Call& c) { c.query.shape = {1, dca::Index{1} << 40, dca::Index{1} << 20, 8}; });
  check_refused("dca: key: strides", [](Call& c) { c.key.strides[1] = std::numeric_limits<dca::Index>::max() / 16; });
  CHECK_THROWS_WITH(contiguous<float>(nullptr, {dca::Index{1} << 40, dca::Index{1} << 40}), contains("overflows"));
}
TEST_CASE("outputs that share memory") {
  check_refused("dca: out: shares memory with query", [](Call& c) {
    c.query = contiguous<const float>(c.results.data() + 300, {1, 10, 4, 8});
  });
  check_refused("dca: out: shares memory with value", [](Call& c) {
    c.value = contiguous<const float>(c.results.data(), {1, 12, 2, 8});
  });
  check_refused("dca: lse: shares memory with out", [](Call& c) {
    c.options.lse = contiguous(c.results.data() + 319, {1, 10, 4});
  });
  check_refused("must not overlap", [](Call& c) { c.out.strides[1] = 8; });
}
TEST_CASE("features that are not contiguous") {
  check_refused("dca: value: head_dim stride 2", [](Call& c) { c.value.strides[3] = 2; });
}
TEST_CASE("no data") {
  check_refused("dca: key: no data", [](Call& c) { c.key.data = nullptr; });
}
TEST_CASE("lse and sinks of another shape") {
  check_refused("dca: lse: heads 3", [](Call& c) { c.options.lse = contiguous(c.results.data() + 1024, {1, 10, 3}); });
  check_refused("dca: lse: rank 1", [](Call& c) { c.options.lse = contiguous(c.results.data() + 1024, {40}); });
  static const std::vector<float> sinks(3);
  check_refused("dca: sink_logits: size 3", [](Call& c) { c.options.sink_logits = sinks; });
}
TEST_CASE("more than four dimensions") { CHECK_THROWS_WITH((Extents{1, 2, 3, 4, 5}), contains("extents: 5")); }

TEST_CASE("scales and caps out of range") {
  using Causal = dca::CausalAttention<float>;
  const dca::RotaryEmbedding rope(dca::plain_frequencies(8, 1e4));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(Causal({.rope = rope, .softmax_scale = nan}), contains("softmax_scale"));
  CHECK_THROWS_WITH(Causal({.rope = rope, .logit_softcap = 0.0}), contains("logit_softcap"));
  CHECK_THROWS_WITH(Causal({.rope = rope, .logit_softcap = nan}), contains("logit_softcap"));
}

TEST_CASE("merging states that do not fit") {
  std::vector<float> out(64, untouched), lse(8, untouched), part(128, 1.0f);
  const dca::PartialState<float> result{contiguous(out.data(), {1, 4, 2, 8}), contiguous(lse.data(), {1, 4, 2})};
  const auto merge = [&](std::vector<dca::PartialState<const float>> states, std::span<const float> sinks = {}) {
    dca::merge(Eigen::DefaultDevice{}, std::span<const dca::PartialState<const float>>(states), result, sinks);
  };
  const dca::PartialState<const float> fits{contiguous<const float>(part.data(), {1, 4, 2, 8}),
                                            contiguous<const float>(part.data(), {1, 4, 2})};
  const dca::PartialState<const float> other{contiguous<const float>(part.data(), {1, 5, 2, 8}),
                                             contiguous<const float>(part.data(), {1, 5, 2})};
  const dca::PartialState<const float> overlapping{contiguous<const float>(out.data() + 1, {1, 4, 2, 4}), fits.lse};
  CHECK_THROWS_WITH(merge({}), contains("dca: states: none"));
  CHECK_THROWS_WITH(merge({fits, other}), contains("dca: states: shape [1, 5, 2, 8]"));
  CHECK_THROWS_WITH(merge({{fits.out, other.lse}}), contains("dca: states: lse [1, 5, 2]"));
  CHECK_THROWS_WITH(merge({overlapping}), contains("dca: states: shape"));
  const std::vector<float> sinks(3);
  CHECK_THROWS_WITH(merge({fits}, sinks), contains("dca: sink_logits: size 3"));
  // Sinks in the result: their last use comes after the first row is written.
  const auto result_shares = contains("dca: result: shares memory with sink_logits");
  CHECK_THROWS_WITH(merge({fits}, {out.data(), 2}), result_shares);
  CHECK_THROWS_WITH(merge({fits}, {out.data() + 62, 2}), result_shares);
  CHECK_THROWS_WITH(merge({fits}, {lse.data() + 7, 2}), result_shares);
  const dca::PartialState<const float> lse_in_out{fits.out, contiguous<const float>(out.data(), {1, 4, 2})};
  const dca::PartialState<const float> lse_shifted{fits.out, contiguous<const float>(lse.data() + 1, {1, 4, 2})};
  CHECK_THROWS_WITH(merge({lse_in_out}), contains("dca: result: shares memory with a state's lse"));
  CHECK_THROWS_WITH(merge({lse_shifted}), contains("dca: result: shares memory with a state"));
  for (const std::vector<float>* memory : {&out, &lse}) {
    for (const float x : *memory) REQUIRE(x == untouched);
  }
  merge({fits, fits}, {part.data(), 2});
  CHECK(out.back() != untouched);
}

TEST_CASE("keys and values in two tensors that do not fit") {
  const std::vector<float> memory(1024);
  using Dense = dca::DenseKeyValues<float, float>;
  const auto rows = [&](const Extents& shape) { return contiguous<const float>(memory.data(), shape); };
  CHECK_THROWS_WITH(Dense(rows({2, 12, 2, 8}), rows({1, 12, 2, 8})), contains("dca: value: batch 1"));
  CHECK_THROWS_WITH(Dense(rows({1, 12, 2, 8}), rows({1, 11, 2, 8})), contains("dca: value: length 11"));
  CHECK_THROWS_WITH(Dense(rows({1, 12, 2, 8}), rows({1, 12, 1, 8})), contains("dca: value: kv_heads 1"));
  CHECK_THROWS_WITH(Dense(rows({12, 8}), rows({1, 12, 2, 8})), contains("dca: key: rank 2"));
  CHECK_THROWS_WITH(Dense(rows({1, 12, 2, 8}), contiguous<const float>(nullptr, {1, 12, 2, 8})),
                    contains("dca: value: no data"));
  auto strided = rows({1, 12, 2, 8});
  strided.strides[3] = 2;
  CHECK_THROWS_WITH(Dense(strided, rows({1, 12, 2, 8})), contains("dca: key: head_dim stride 2"));
  strided = rows({1, 12, 2, 8});
  strided.strides[1] = std::numeric_limits<dca::Index>::max() / 16;
  CHECK_THROWS_WITH(Dense(rows({1, 12, 2, 8}), strided), contains("dca: value: strides"));
  const Dense fits(rows({12, 2, 8}), rows({12, 2, 4}));
  CHECK((fits.sequences() == 1 && fits.length(0) == 12 && fits.kv_heads() == 2 && fits.v_head_dim() == 4));
}

TEST_CASE("rows that cannot be rotated in place") {
  const dca::RotaryEmbedding rope(dca::plain_frequencies(8, 1e4));
  std::vector<float> memory(64, untouched);
  const std::vector<dca::Index> two{1, 2};
  const auto check = [&](const std::string& message, dca::TensorView<float> x) {
    CHECK_THROWS_WITH(dca::rotate(rope, std::span<const dca::Index>(two), x), contains(message));
    CHECK_THROWS_WITH(dca::rotate_back(rope, std::span<const dca::Index>(two), x), contains(message));
    for (const float value : memory) REQUIRE(value == untouched);
  };
  const auto view = [&](const Extents& shape) { return contiguous(memory.data(), shape); };
  check("dca: x: no data", contiguous<float>(nullptr, {2, 1, 8}));
  check("dca: x: rank 2", view({2, 8}));
  check("dca: x: shape [1, 2, 0, 8]", view({2, 0, 8}));
  check("dca: positions: size 2; must be that of x's rows, 3", view({3, 1, 8}));
  check("dca: rotary_dim: 8; must be at most head_dim, 6", view({2, 1, 6}));
  auto x = view({2, 2, 8});
  x.strides[2] = 2;
  check("dca: x: head_dim stride 2", x);
  for (const int dimension : {0, 1}) {  // one row for all
    x = view({2, 2, 8});
    x.strides[dimension] = 0;
    check("the elements of an output must not overlap", x);
  }
  x = view({2, 2, 8});
  x.strides[0] = 4;
  check("the elements of an output must not overlap", x);
  const std::vector<dca::Index> none;
  dca::rotate(rope, std::span<const dca::Index>(none), contiguous<float>(nullptr, {0, 1, 8}));
}

namespace {

/// Whether a view can be made of a T as it stands in an expression.
template <class T>
concept Viewable4 = requires(T&& tensor) {
  dca::blhd(std::forward<T>(tensor));
  dca::bhld(std::forward<T>(tensor));
};
template <class T>
concept Viewable3 = requires(T&& tensor) {
  dca::blh(std::forward<T>(tensor));
  dca::bhl(std::forward<T>(tensor));
};
using Tensor4 = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Tensor3 = Eigen::Tensor<float, 3>;
using Fixed3 = Eigen::TensorFixedSize<float, Eigen::Sizes<2, 3, 4>>;

// Tensors with a name, and maps; no temporary that owns its memory.
static_assert(Viewable4<Tensor4&> && Viewable4<const Tensor4&> && !Viewable4<Tensor4> && !Viewable4<const Tensor4>);
static_assert(Viewable3<Tensor3&> && Viewable3<const Tensor3&> && !Viewable3<Tensor3> && !Viewable3<const Tensor3>);
static_assert(Viewable3<Fixed3&> && !Viewable3<Fixed3>);
static_assert(Viewable4<Eigen::TensorMap<Tensor4>> && Viewable4<const Eigen::TensorMap<Tensor4>>);
static_assert(Viewable3<Eigen::TensorMap<Tensor3>> && Viewable3<Eigen::TensorMap<const Tensor3>&>);

}  // namespace

TEST_CASE("a map may be a temporary") {
  std::vector<float> memory(24);
  const auto view = dca::blhd(Eigen::TensorMap<Tensor4>(memory.data(), 1, 2, 3, 4));
  CHECK((view.data == memory.data() && view.shape == Extents{1, 2, 3, 4}));
}

TEST_CASE("missing required fields are refused by name") {
  CHECK_THROWS_WITH(dca::ChunkLayout(dca::ChunkConfig{.local_window = 2}), contains("dca: chunk_size: 0"));
  CHECK_THROWS_WITH(dca::ChunkLayout(dca::ChunkConfig{.chunk_size = 6}), contains("dca: local_window: -1"));
  CHECK_THROWS_WITH(dca::TopBlocks{}.check(), contains("dca: TopBlocks keys: -1"));
  CHECK_THROWS_WITH(dca::FirstAndRecent{}.check(), contains("dca: FirstAndRecent recent: -1"));
  const auto attention = make_chunked<dca::DualChunkAttention<float>>({6, 2}, 8);
  CHECK_THROWS_WITH(attention.make_cache<float>({.head_dim = 8, .v_head_dim = 8}, 1, {.tokens = 4}),
                    contains("dca: kv_heads: 0"));
  CHECK_THROWS_WITH(attention.make_cache<float>({.kv_heads = 1, .v_head_dim = 8}, 1, {.tokens = 4}),
                    contains("dca: head_dim: 0"));
  CHECK_THROWS_WITH(attention.make_cache<float>({.kv_heads = 1, .head_dim = 8}, 1, {.tokens = 4}),
                    contains("dca: v_head_dim: 0"));
  CHECK_THROWS_WITH(attention.make_cache<float>({.kv_heads = 1, .head_dim = 8, .v_head_dim = 8}, 1, {}),
                    contains("dca: capacity: 0"));
}
