// Other remappings as compositions of parts from outside the library: those of the examples.
#include "remappings.hpp"

#include "support/attend_definition.hpp"
#include "support/attend_source_definition.hpp"
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;
using namespace remappings;

TEMPLATE_TEST_CASE("Self-Extend is a composition of two parts that place keys differently", "", float, double) {
  const SelfExtendLayout s{20, 4};
  Random random;
  const Inputs<TestType> in({1, 120, 120, 2, 1, 16, 16}, random);
  const Ropes ropes = make_ropes(16);
  const dca::ComposedAttention<TestType, GroupedTokens, NeighbourTokens> attention(
      {.chunks = s, .rope = ropes.library});
  const auto positions = [](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    if (j > i) return std::nullopt;
    if (i - j < 20) return reference::Positions{i, j};
    return reference::Positions{i / 4 + 20 - 5, j / 4};
  };
  CHECK(difference(run(attention, in), reference_of(in, positions, ropes.reference)) == "");
}

TEST_CASE("parts that place keys differently are served from a cache of unplaced keys") {
  const Ropes ropes = make_ropes(16);
  const dca::ComposedAttention<float, GroupedTokens, NeighbourTokens> attention(
      {.chunks = SelfExtendLayout{20, 4}, .rope = ropes.library});
  for (const Index q_len : {1, 3, 90}) {
    Random random;
    const Inputs<float> in({2, q_len, 300, 2, 1, 16, 16}, random);
    auto contiguous = attention.make_cache<float>(cache_shape(in.sizes), 2, {.tokens = 300});
    auto paged = attention.make_paged_cache<float>(cache_shape(in.sizes), 2 * 43, 7);
    for (Index b = 0; b < 2; ++b) {
      append_tokens(contiguous, b, in, b, 0, 300);
      append_tokens(paged, paged.add(), in, b, 0, 300);
    }
    dca::CacheShape summarised = cache_shape(in.sizes);
    summarised.summary_block = 8;
    CHECK_THROWS_WITH(attention.make_cache<float>(summarised, 1, {.tokens = 8}),
                      contains("summary_block: 8; must be 0"));
    const std::vector<Index> both{0, 1};
    const auto expected = run(attention, in);  // keys as they came: the same as from tensors
    CHECK(same_bits(run_on(attention, in, contiguous.view()), expected));
    CHECK(same_bits(run_on(attention, in, paged.view(both)), expected));
  }
}

TEMPLATE_TEST_CASE("StreamingLLM is a composition of two parts", "", float, double) {
  const StreamingLayout s{4, 30};
  Random random;
  const Inputs<TestType> in({1, 200, 200, 2, 2, 16, 16}, random);
  const Ropes ropes = make_ropes(16);
  const dca::ComposedAttention<TestType, SinkTokens, RecentTokens> attention({.chunks = s, .rope = ropes.library});
  const auto positions = [](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    if (j > i) return std::nullopt;
    if (i - j < 30) return reference::Positions{i, j};
    if (j < 4) return reference::Positions{std::min<std::int64_t>(i, 33), j};
    return std::nullopt;
  };
  CHECK(difference(run(attention, in), reference_of(in, positions, ropes.reference)) == "");
}
