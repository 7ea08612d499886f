// Other remappings as compositions of parts from outside the library: those of the examples.
#include "remappings.hpp"

#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;
using namespace remappings;

namespace {

/// Plain causal attention with all positions moved: only their differences matter.
struct Moved {
  Index by;
  friend constexpr bool operator==(const Moved&, const Moved&) = default;
};

struct MovedPlacement {
  using Layout = Moved;
  static constexpr Index position(const Moved& moved, Index j) { return j + moved.by; }
};

struct MovedSequence {
  using Layout = Moved;
  using KeyPlacement = MovedPlacement;
  static constexpr Index query_position(const Moved& moved, Index i) { return i + moved.by; }
  static constexpr Index key_position(const Moved& moved, Index j) { return KeyPlacement::position(moved, j); }
  static constexpr dca::KeyRange keys(const Moved&, Index i) { return {0, i + 1}; }
};

/// The same with keys said to be placed by another type, or by none.
template <class Placement>
struct MovedBy : MovedSequence {
  using KeyPlacement = Placement;
};
struct UnmovedPlacement {
  using Layout = Moved;
  static constexpr Index position(const Moved&, Index j) { return j; }
};
struct MovedUnnamed {
  using Layout = Moved;
  static constexpr Index query_position(const Moved& moved, Index i) { return i + moved.by; }
  static constexpr Index key_position(const Moved& moved, Index j) { return j + moved.by; }
  static constexpr dca::KeyRange keys(const Moved&, Index) { return {0, 0}; }
};

/// The queries of a problem on a paged cache with its tokens, which came in two pieces and which a fork went on from,
/// so that blocks begin and go on within a piece, and one is a copy.
template <class Attention>
Outputs<float> run_paged(const Attention& attention, const Inputs<float>& in) {
  constexpr Index block_size = 7;
  const Index tokens = in.sizes.kv_len, begun = tokens / 2 / block_size * block_size + 3;
  auto cache = attention.template make_paged_cache<float>(cache_shape(in.sizes), tokens / block_size + 2, block_size);
  const Index origin = cache.add();
  append_tokens(cache, origin, in, 0, 0, begun);
  const Index fork = cache.fork(origin);
  append_tokens(cache, fork, in, 0, begun, tokens - begun);
  const std::vector<Index> only{fork};
  return run_on(attention, in, cache.view(only));
}

}  // namespace

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

TEST_CASE("a cache rotates keys where all parts name the same placement, and else keeps them as they come") {
  Random random;
  const Inputs<float> in({1, 1, 5, 1, 1, 16, 16}, random);
  const auto keeps_keys = [&]<class... Parts>(std::type_identity<dca::ComposedAttention<float, Parts...>>) {
    const dca::ComposedAttention<float, Parts...> attention({.chunks = Moved{1}, .rope = make_ropes(16).library});
    auto cache = attention.template make_cache<float>(cache_shape(in.sizes), 1, {.tokens = 5});
    append_tokens(cache, 0, in, 0, 0, 5);
    const auto view = cache.view();
    return std::equal(in.key.begin(), in.key.end(), view.keys(0, 0, 0).data);
  };
  const auto kept_by = [&]<class... Parts>() {
    return keeps_keys(std::type_identity<dca::ComposedAttention<float, Parts...>>{});
  };
  CHECK_FALSE(kept_by.operator()<MovedSequence>());
  CHECK_FALSE(kept_by.operator()<MovedSequence, MovedBy<MovedPlacement>>());
  CHECK(kept_by.operator()<MovedSequence, MovedBy<UnmovedPlacement>>());
  CHECK(kept_by.operator()<MovedSequence, MovedSequence, MovedBy<UnmovedPlacement>>());
  CHECK(kept_by.operator()<MovedSequence, MovedUnnamed>());
  CHECK(kept_by.operator()<MovedUnnamed, MovedSequence>());
}

TEMPLATE_TEST_CASE("StreamingLLM is a composition of two parts", "", float, double) {
  const StreamingLayout s{4, 30};
  Random random;
  const Ropes ropes = make_ropes(16);
  const dca::ComposedAttention<TestType, SinkTokens, RecentTokens> attention({.chunks = s, .rope = ropes.library});
  const auto positions = [](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    if (j > i) return std::nullopt;
    if (i - j < 30) return reference::Positions{i, j};
    if (j < 4) return reference::Positions{std::min<std::int64_t>(i, 33), j};
    return std::nullopt;
  };
  // Of few queries and of many; each sees a window of its own.
  for (const Index q_len : {200, 7, 2}) {
    const Inputs<TestType> in({1, q_len, 200, 2, 2, 16, 16}, random);
    INFO("q_len " << q_len);
    CHECK(difference(run(attention, in), reference_of(in, positions, ropes.reference, {.q_offset = 200 - q_len})) ==
          "");
  }
}

TEMPLATE_TEST_CASE("a key that has left a query's window cannot reach it, not even NaN or infinity", "", float,
                   double) {
  const dca::ComposedAttention<TestType, SinkTokens, RecentTokens> attention(
      {.chunks = StreamingLayout{4, 30}, .rope = make_ropes(16).library});
  Random random;
  for (const Index q_len : {40, 7}) {
    const Inputs<TestType> in({1, q_len, 200, 1, 1, 16, 16}, random);
    const auto before = run(attention, in);
    for (const Index row : {0, 1, 4}) {  // the last that sees the key
      const Index key = 200 - q_len + row - 29;
      Inputs<TestType> changed = in;
      std::fill_n(changed.key.begin() + key * 16, 16, std::numeric_limits<TestType>::quiet_NaN());
      std::fill_n(changed.value.begin() + key * 16, 16, std::numeric_limits<TestType>::infinity());
      const auto after = run(attention, changed);
      INFO("q_len " << q_len << " row " << row);
      CHECK(std::isnan(after.out[static_cast<std::size_t>(row * 16)]));
      CHECK(std::equal(after.out.begin() + (row + 1) * 16, after.out.end(), before.out.begin() + (row + 1) * 16));
      CHECK(std::equal(after.lse.begin() + row + 1, after.lse.end(), before.lse.begin() + row + 1));
    }
  }
}

TEMPLATE_TEST_CASE("positions may be any: a part moved far to either side is what it was", "", float, double) {
  Random random;
  const bool interleaved = GENERATE(false, true);
  for (const Index q_len : {40, 3}) {
    const Inputs<TestType> in({1, q_len, 40, 2, 1, 16, 16}, random);
    const Ropes ropes = make_ropes(16, 10000.0, 1.0, interleaved);
    const auto unmoved = reference_of(in, reference::causal(), ropes.reference, {.q_offset = 40 - q_len});
    const double largest_logit = reference::largest_logit(to_array(in.query, in.query_shape()),
                                                          to_array(in.key, in.key_shape()), ropes.reference, 0.0);
    for (const Index by : {Index{-1}, Index{-15}, Index{-16}, Index{-17}, Index{-100}, Index{-4096}, -(Index{1} << 31),
                           -(Index{1} << 40), Index{1} << 31, Index{1} << 40}) {
      const dca::ComposedAttention<TestType, MovedSequence> attention({.chunks = Moved{by}, .rope = ropes.library});
      const Magnitudes magnitudes{.largest_logit = largest_logit, .largest_angle = std::abs(static_cast<double>(by))};
      INFO("q_len " << q_len << ", moved by " << by);
      CHECK(difference(run(attention, in), unmoved, magnitudes) == "");
      if constexpr (std::is_same_v<TestType, float>) {
        auto cache = attention.template make_cache<float>(cache_shape(in.sizes), 1, {.tokens = 40});
        append_tokens(cache, 0, in, 0, 0, 40);
        const auto cached = run_on(attention, in, cache.view());
        CHECK(difference(cached, unmoved, magnitudes) == "");
        CHECK(same_bits(run_paged(attention, in), cached));
      }
    }
  }
}

TEST_CASE("results at the lowest and highest positions are finite") {
  Random random;
  const Inputs<float> in({1, 20, 20, 1, 1, 16, 16}, random);
  for (const Index by : {std::numeric_limits<Index>::min(), std::numeric_limits<Index>::max() - 20}) {
    const dca::ComposedAttention<float, MovedSequence> attention({.chunks = Moved{by}, .rope = make_ropes(16).library});
    auto cache = attention.make_cache<float>(cache_shape(in.sizes), 1, {.tokens = 20});
    append_tokens(cache, 0, in, 0, 0, 20);
    for (const auto& outputs : {run(attention, in), run_on(attention, in, cache.view()), run_paged(attention, in)}) {
      for (const float x : outputs.out) REQUIRE(std::isfinite(x));
      for (const float x : outputs.lse) REQUIRE(std::isfinite(x));
    }
  }
}
