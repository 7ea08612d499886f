// Other remappings as compositions of a user's own parts: Self-Extend and StreamingLLM.
#include "support/attend_definition.hpp"
#include "support/attend_source_definition.hpp"
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;

namespace {

/// Self-Extend (Jin et al. 2024, arXiv:2401.01325): true distances to the last `window` tokens; beyond them positions
/// are floors of groups of `group` tokens, shifted so that the distances meet at the window's edge. Its two parts place
/// keys differently.
struct SelfExtend {
  Index window, group;
};

struct Neighbours {
  using Layout = SelfExtend;
  static constexpr Index query_position(const SelfExtend&, Index i) { return i; }
  static constexpr Index key_position(const SelfExtend&, Index j) { return j; }
  static constexpr dca::KeyRange keys(const SelfExtend& s, Index i) {
    return {std::max<Index>(0, i - s.window + 1), i + 1};
  }
};

struct Grouped {
  using Layout = SelfExtend;
  static constexpr Index query_position(const SelfExtend& s, Index i) {
    return i / s.group + s.window - s.window / s.group;
  }
  static constexpr Index key_position(const SelfExtend& s, Index j) { return j / s.group; }
  static constexpr dca::KeyRange keys(const SelfExtend& s, Index i) {
    return {0, std::max<Index>(0, i - s.window + 1)};
  }
};

/// StreamingLLM (Xiao et al. 2024, arXiv:2309.17453): the first `first` tokens and the most recent `recent`, at
/// positions within that cache: the first tokens stand right before the recent ones.
struct Streaming {
  Index first, recent;
};

struct FirstTokens {
  using Layout = Streaming;
  static constexpr Index query_position(const Streaming& s, Index i) { return std::min(i, s.first + s.recent - 1); }
  static constexpr Index key_position(const Streaming&, Index j) { return j; }
  static constexpr dca::KeyRange keys(const Streaming& s, Index i) {
    return {0, std::min(s.first, std::max<Index>(0, i - s.recent + 1))};
  }
};

struct RecentTokens {
  using Layout = Streaming;
  static constexpr Index query_position(const Streaming&, Index i) { return i; }
  static constexpr Index key_position(const Streaming&, Index j) { return j; }
  static constexpr dca::KeyRange keys(const Streaming& s, Index i) {
    return {std::max<Index>(0, i - s.recent + 1), i + 1};
  }
};

}  // namespace

TEMPLATE_TEST_CASE("Self-Extend is a composition of two parts that place keys differently", "", float, double) {
  const SelfExtend s{20, 4};
  Random random;
  const Inputs<TestType> in({1, 120, 120, 2, 1, 16, 16}, random);
  const Ropes ropes = make_ropes(16);
  const dca::ComposedAttention<TestType, Grouped, Neighbours> attention({.chunks = s, .rope = ropes.library});
  const auto positions = [](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    if (j > i) return std::nullopt;
    if (i - j < 20) return reference::Positions{i, j};
    return reference::Positions{i / 4 + 20 - 5, j / 4};
  };
  CHECK(difference(run(attention, in), reference_of(in, positions, ropes.reference)) == "");
}

TEST_CASE("parts that place keys differently are served from a cache of unplaced keys") {
  const Ropes ropes = make_ropes(16);
  const dca::ComposedAttention<float, Grouped, Neighbours> attention(
      {.chunks = SelfExtend{20, 4}, .rope = ropes.library});
  for (const Index q_len : {1, 3, 90}) {
    Random random;
    const Inputs<float> in({2, q_len, 300, 2, 1, 16, 16}, random);
    auto contiguous = attention.make_cache<float>(cache_shape(in.sizes), 2, {.tokens = 300});
    auto paged = attention.make_paged_cache<float>(cache_shape(in.sizes), 2 * 43, 7);
    for (Index b = 0; b < 2; ++b) {
      append_tokens(contiguous, b, in, b, 0, 300);
      append_tokens(paged, paged.add(), in, b, 0, 300);
    }
    const std::vector<Index> both{0, 1};
    const auto expected = run(attention, in);  // keys as they came: the same as from tensors
    CHECK(same_bits(run_on(attention, in, contiguous.view()), expected));
    CHECK(same_bits(run_on(attention, in, paged.view(both)), expected));
  }
}

TEMPLATE_TEST_CASE("StreamingLLM is a composition of two parts", "", float, double) {
  const Streaming s{4, 30};
  Random random;
  const Inputs<TestType> in({1, 200, 200, 2, 2, 16, 16}, random);
  const Ropes ropes = make_ropes(16);
  const dca::ComposedAttention<TestType, FirstTokens, RecentTokens> attention({.chunks = s, .rope = ropes.library});
  const auto positions = [](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    if (j > i) return std::nullopt;
    if (i - j < 30) return reference::Positions{i, j};
    if (j < 4) return reference::Positions{std::min<std::int64_t>(i, 33), j};
    return std::nullopt;
  };
  CHECK(difference(run(attention, in), reference_of(in, positions, ropes.reference)) == "");
}
