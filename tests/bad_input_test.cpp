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
    attend(make_chunked<dca::DualChunkAttention<float>>({6, 2}, rotary_dim), Eigen::DefaultDevice{},
           {query, key, value}, out, options);
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
  for (const float x : out) REQUIRE(x == untouched);
}
