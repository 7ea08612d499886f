// What a policy leaves out: bounds of its weight, and states of parts without it.
#include "support/catch.hpp"
#include "support/selecting.hpp"

using namespace dca_test;
using dca::TopBlocks;

namespace {

constexpr dca::ChunkConfig chunks{90, 20};

/// A user's own policy: every block, adding up what estimates there are.
struct Sum {
  double* importance;
  Index block_size() const { return 16; }
  Index queries() const { return 64; }
  double optimism() const { return 1.0; }
  void choose(const dca::QueryBlock&, std::span<dca::RankedBlock<float>> blocks, dca::BlockSet& set) const {
    for (const auto& [estimate, block] : blocks) {
      if (std::isfinite(estimate)) *importance += static_cast<double>(estimate);
      set.add(block);
    }
  }
};

/// How far the weight may be off that one call gives to keys and another does not: the lse of each comes from a sum of
/// up to `keys` weights, each addition of which is rounded, and is rounded itself.
template <class T>
double weight_rounding(Index keys, double lse) {
  return (static_cast<double>(keys) + std::abs(lse)) * static_cast<double>(std::numeric_limits<T>::epsilon());
}

/// The state of all parts where that of the far one is given.
Outputs<float> merged_with_near(const Inputs<float>& in, const Outputs<float>& far) {
  const auto near = run(make_chunked<dca::SuccessiveChunkAttention<float>>(chunks, 16), in);
  const auto own = run(make_chunked<dca::IntraChunkAttention<float>>(chunks, 16), in);
  Outputs<float> merged(in);
  merge_states({far.state(), near.state(), own.state()}, merged);
  return merged;
}

/// As difference, from another result.
std::string difference_from(const Outputs<float>& actual, const Outputs<float>& expected) {
  return difference(actual, reference::Result{to_array(expected.out, expected.out_shape),
                                              to_array(expected.lse, expected.lse_shape)});
}

}  // namespace

TEMPLATE_TEST_CASE("the bound of what was skipped is reached where keys reach theirs", "", float, double) {
  // Each block has keys of both signs, and queries point to one of them: its bound is that key's logit.
  Random random;
  Inputs<TestType> in({1, 1, 700, 1, 1, 16, 16}, random);
  for (std::size_t k = 0; k < in.key.size(); ++k) {
    in.query[k % 16] = TestType(k % 2 == 0 ? 1 : -1);
    in.key[k] = in.query[k % 16] * TestType(k / 16 % 2 == 0 ? 2 : -2);
  }
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 0);
  const auto exact = run(attention, in);
  const auto some = select(attention, in, TopBlocks{.keys = 96, .block = 16});
  const double left_out = -std::expm1(static_cast<double>(some.outputs.lse[0] - exact.lse[0]));
  // Half of the keys that were left out have a logit of -8, and are counted as if it was 8 as well.
  const double rounding = weight_rounding<TestType>(700, static_cast<double>(exact.lse[0]));
  CHECK(static_cast<double>(some.skipped[0]) ==
        Approx(2 * left_out / (1 + left_out)).epsilon(0).margin(std::exp(-16.0) + 3 * rounding));
}

TEMPLATE_TEST_CASE("what was skipped is bounded from above", "", float, double) {
  for (const double cap : {0.0, 3.0}) {
    Random random(static_cast<std::uint64_t>(cap));
    const Inputs<TestType> in({1, 300, 700, 4, 2, 16, 16}, random, 0.5);
    const Ropes ropes = make_ropes(16);
    dca::AttentionConfig<dca::ChunkLayout> config{.chunks = chunks, .rope = ropes.library};
    if (cap > 0) config.logit_softcap = cap;
    const dca::DualChunkAttention<TestType> attention(config);
    const auto exact = run(attention, in);
    const auto some = select(attention, in, TopBlocks{.keys = 96, .block = 16});
    const auto none = select(attention, in, TopBlocks{.keys = 0, .block = 16});
    const auto all = select(attention, in, TopBlocks{.keys = 700, .block = 16});
    for (std::size_t k = 0; k < exact.lse.size(); ++k) {
      const double rounding = weight_rounding<TestType>(700, static_cast<double>(exact.lse[k]));
      for (const auto* result : {&some, &none}) {
        const double left_out = -std::expm1(static_cast<double>(result->outputs.lse[k] - exact.lse[k]));
        REQUIRE(static_cast<double>(result->skipped[k]) >= left_out - rounding);
        REQUIRE(result->skipped[k] <= 1);
      }
      REQUIRE(some.skipped[k] <= none.skipped[k]);
      REQUIRE(all.skipped[k] == 0);
    }
    CHECK(*std::min_element(some.skipped.begin(), some.skipped.end()) < 1);
  }
}

TEST_CASE("the inter-chunk functor alone takes a policy, and its state merges") {
  Random random;
  const Inputs<float> in({1, 200, 700, 2, 1, 16, 16}, random);
  const Operands<float> x = in.operands();
  const EveryNth policy{2, 32};
  const auto expected = select(make_chunked<dca::DualChunkAttention<float>>(chunks, 16), in, policy);
  const auto inter = make_chunked<dca::InterChunkAttention<float>>(chunks, 16);
  Outputs<float> far(in);
  inter(Eigen::DefaultDevice{}, x.query, x.key, x.value, far.out_view(), {.lse = far.lse_view()}, policy);
  CHECK(difference_from(merged_with_near(in, far), expected.outputs) == "");
}

TEST_CASE("with a budget of no keys the inter-chunk functor sees none, and the operator the near ones alone") {
  const auto inter = make_chunked<dca::InterChunkAttention<float>>(chunks, 16);
  const reference::Rope rope = make_ropes(16).reference;
  const TopBlocks policy{.keys = 0, .block = 32, .query_block = 40};
  for (const Index q_len : {1, 20, 40, 200}) {  // streamed, packed in pieces of keys, packed
    Random random(static_cast<std::uint64_t>(q_len));
    const Inputs<float> in({1, q_len, 1500, 2, 2, 16, 16}, random);
    const Operands<float> x = in.operands();
    Outputs<float> far(in), skipped(in);
    std::vector<dca::ChosenBlocks> chosen;
    inter(Eigen::DefaultDevice{}, x.query, x.key, x.value, far.out_view(),
          {.lse = far.lse_view(), .skipped = skipped.lse_view(), .chosen = &chosen}, policy);
    INFO("q_len " << q_len);
    CHECK(std::all_of(chosen.begin(), chosen.end(), [](const auto& one) { return one.blocks.empty(); }));
    CHECK(std::all_of(skipped.lse.begin(), skipped.lse.end(), [](float bound) { return bound == 1; }));
    const auto nothing = [](std::int64_t, std::int64_t) { return std::optional<reference::Positions>{}; };
    CHECK(difference(far, reference_of(in, nothing, rope)) == "");
    CHECK(check_chosen(in, chunks, policy) == "");
  }
}

TEST_CASE("queries that chose nothing have the state of no keys, and merge as such") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const auto inter = make_chunked<dca::InterChunkAttention<float>>(chunks, 16);
  for (const Index q_len : {1, 8, 500}) {
    Random random(static_cast<std::uint64_t>(q_len));
    const Inputs<float> in({2, q_len, 2500, 2, 1, 16, 16}, random);
    const Operands<float> x = in.operands();
    for (const Index first : {35, 1000}) {  // some find their first block there, or none does
      const EveryNth policy{1, 64, first};
      Outputs<float> far(in);
      std::vector<float> skipped(far.lse.size());
      std::vector<dca::ChosenBlocks> chosen;
      inter(Eigen::DefaultDevice{}, x.query, x.key, x.value, far.out_view(),
            {.lse = far.lse_view(), .skipped = dca::contiguous(skipped.data(), in.lse_shape()), .chosen = &chosen},
            policy);
      for (const auto& [query, blocks] : chosen) {
        if (!blocks.empty()) continue;
        for (Index i = query.queries.first; i < query.queries.last; ++i) {
          for (Index head = 0; head < 2; ++head) {
            const Index row = ((query.sequence + 1) * q_len - 2500 + i) * 2 + head;
            CHECK(far.lse[static_cast<std::size_t>(row)] == -infinity);
            CHECK(skipped[static_cast<std::size_t>(row)] == 1.0F);
            for (Index d = 0; d < 16; ++d) REQUIRE(far.out[static_cast<std::size_t>(row * 16 + d)] == 0.0F);
          }
        }
      }
      CHECK(std::none_of(far.out.begin(), far.out.end(), [](float value) { return std::isnan(value); }));
      const bool none = std::all_of(far.lse.begin(), far.lse.end(), [](float lse) { return lse == -infinity; });
      CHECK(none == (first == 1000));
      const auto expected = select(make_chunked<dca::DualChunkAttention<float>>(chunks, 16), in, policy);
      CHECK(difference_from(merged_with_near(in, far), expected.outputs) == "");
    }
  }
}

TEST_CASE("estimates add up to the number of queries that are finite") {
  Random random;
  const auto inter = make_chunked<dca::InterChunkAttention<float>>(chunks, 16);
  Inputs<float> in({1, 40, 700, 1, 1, 16, 16}, random);  // of one chunk
  constexpr double blocks = 44, unit_roundoff = static_cast<double>(std::numeric_limits<float>::epsilon()) / 2;
  for (const double finite : {40.0, 39.0, 38.0}) {
    double importance = 0;
    Outputs<float> outputs(in);
    const Operands<float> x = in.operands();
    inter(Eigen::DefaultDevice{}, x.query, x.key, x.value, outputs.out_view(), {}, Sum{&importance});
    // Each estimate is a sum over queries of weights, which were divided by a sum over blocks of powers of 2.
    CHECK(importance == Approx(finite).epsilon((finite + blocks + 8) * unit_roundoff));
    in.query[static_cast<std::size_t>(finite) * 10] = std::numeric_limits<float>::quiet_NaN();
  }
}
