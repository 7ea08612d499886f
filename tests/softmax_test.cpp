// The softmax where logits are far apart, infinite or not there, and the merging of partial states.
#include "support/catch.hpp"
#include "support/problem.hpp"

using namespace dca_test;

namespace {

constexpr dca::ChunkConfig chunks{300, 44};

/// A problem whose logit with key j is `logit(j)` for every query, and an operator without rotation: a query's first
/// feature is 1, a key's its logit, and all others of keys are 0.
template <class T, class Logit>
Inputs<T> with_logits(Index q_len, Index kv_len, Random& random, const Logit& logit) {
  Inputs<T> in({1, q_len, kv_len, 2, 1, 4, 8}, random);
  std::fill(in.key.begin(), in.key.end(), T{0});
  for (Index j = 0; j < kv_len; ++j) in.key[static_cast<std::size_t>(j * 4)] = static_cast<T>(logit(j));
  for (std::size_t row = 0; row < in.query.size(); row += 4) in.query[row] = T{1};
  return in;
}

template <class T>
std::string check(const Inputs<T>& in, double largest_logit) {
  const Ropes none = make_ropes(0);
  const dca::DualChunkAttention<T> attention({.chunks = chunks, .rope = none.library, .softmax_scale = 1.0});
  const auto expected = reference_of(in, reference::dual_chunk(chunks.chunk_size, chunks.local_window), none.reference,
                                     {.q_offset = in.sizes.kv_len - in.sizes.q_len, .softmax_scale = 1.0});
  return difference(run(attention, in), expected, {.largest_logit = largest_logit});
}

}  // namespace

TEMPLATE_TEST_CASE("logits that rise or fall by far along the keys agree with the definition", "", float, double) {
  Random random;
  for (const Index q_len : {1, 3, 40}) {
    for (const double step : {3.0, 0.01, -0.01, -3.0}) {
      INFO("q_len " << q_len << " step " << step);
      const auto along = [&](Index j) { return step * static_cast<double>(j); };
      CHECK(check(with_logits<TestType>(q_len, 2500, random, along), std::abs(step) * 2500) == "");
      // Up and down again, so that tiles of one part do not follow each other in order.
      const auto wave = [&](Index j) { return step * 400 * std::sin(static_cast<double>(j) / 50); };
      CHECK(check(with_logits<TestType>(q_len, 2500, random, wave), std::abs(step) * 400) == "");
    }
  }
}

TEMPLATE_TEST_CASE("keys whose logit is -inf count for nothing, and a row that sees no others is NaN", "", float,
                   double) {
  Random random;
  const double infinity = std::numeric_limits<double>::infinity();
  for (const Index q_len : {1, 3, 40, 700}) {
    for (const Index finite : {0, 1, 600, 680, 699, 700}) {  // the first key that is
      INFO("q_len " << q_len << " finite from " << finite);
      const auto late = [&](Index j) { return j < finite ? -infinity : 0.5; };
      CHECK(check(with_logits<TestType>(q_len, 700, random, late), 1.0) == "");
      const auto early = [&](Index j) { return j < finite ? 0.5 : -infinity; };
      CHECK(check(with_logits<TestType>(q_len, 700, random, early), 1.0) == "");
    }
  }
}

TEMPLATE_TEST_CASE("what stands in a state without keys does not reach a merge", "", float, double) {
  Random random;
  const Inputs<TestType> in({1, 5, 9, 2, 1, 4, 4}, random);
  const auto some = run(make_chunked<dca::DualChunkAttention<TestType>>(chunks, 4), in);
  const auto expected = some;
  for (const TestType stale : {std::numeric_limits<TestType>::quiet_NaN(), std::numeric_limits<TestType>::infinity()}) {
    Outputs<TestType> none(in), merged(in);
    std::fill(none.out.begin(), none.out.end(), stale);
    std::fill(none.lse.begin(), none.lse.end(), -std::numeric_limits<TestType>::infinity());
    merge_states({none.state(), some.state(), none.state()}, merged);
    CHECK(same_bits(merged, expected));
    merge_states({none.state()}, merged);
    CHECK(merged.out == std::vector<TestType>(merged.out.size(), TestType{0}));
    CHECK(merged.lse == none.lse);
  }
}

TEMPLATE_TEST_CASE("sinks enter a merge once, and lse is that of the keys alone", "", float, double) {
  Random random;
  const Inputs<TestType> in({2, 70, 130, 4, 2, 16, 8}, random, 2.0);
  const std::vector<TestType> sinks = random.normal<TestType>(4, 2.0);
  const dca::ChunkConfig config{20, 4};
  const auto whole = run(make_chunked<dca::DualChunkAttention<TestType>>(config, 16), in, {.sink_logits = sinks});
  const auto intra = run(make_chunked<dca::IntraChunkAttention<TestType>>(config, 16), in);
  const auto successive = run(make_chunked<dca::SuccessiveChunkAttention<TestType>>(config, 16), in);
  const auto inter = run(make_chunked<dca::InterChunkAttention<TestType>>(config, 16), in);
  Outputs<TestType> merged(in);
  merge_states({intra.state(), successive.state(), inter.state()}, merged, sinks);
  const double bound = 4 * weight_bound<TestType>({});
  CHECK(largest_error(merged.out, to_array(whole.out, in.out_shape())) <= bound);
  CHECK(largest_error(merged.lse, to_array(whole.lse, in.lse_shape())) <= bound);
}

TEST_CASE("a sink far above all keys leaves them their share, as far as numbers reach") {
  Random random;
  const Inputs<double> in({1, 1, 1, 1, 1, 4, 4}, random);
  Outputs<double> state(in), merged(in);
  std::fill(state.lse.begin(), state.lse.end(), 0.0);
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double sink : {-720.0, 0.0, 1.0, 700.0, 720.0}) {
    INFO("sink " << sink);
    std::fill(state.out.begin(), state.out.end(), 1e300);
    merge_states({state.state()}, merged, std::vector<double>{sink});
    const long double share = 1 / (1 + std::exp(static_cast<long double>(sink)));
    // Shares below 2^-1022 have fewer bits.
    const long double rounding = std::max<long double>(4 * std::numeric_limits<double>::epsilon(),
                                                       std::numeric_limits<double>::denorm_min() / share);
    CHECK(std::abs(merged.out[0] / (1e300L * share) - 1) <= rounding);
    CHECK(merged.lse[0] == 0.0);
    std::fill(state.out.begin(), state.out.end(), infinity);
    merge_states({state.state()}, merged, std::vector<double>{sink});
    CHECK(merged.out[0] == infinity);
  }
  std::fill(state.out.begin(), state.out.end(), 1e300);
  merge_states({state.state()}, merged, std::vector<double>{infinity});
  CHECK(merged.out[0] == 0.0);
}

TEMPLATE_TEST_CASE("a sink far above all keys leaves a row its share, as far as numbers reach", "", float, double) {
  Random random;
  const Ropes none = make_ropes(0);
  const dca::DualChunkAttention<TestType> attention({.chunks = chunks, .rope = none.library, .softmax_scale = 1.0});
  using Limits = std::numeric_limits<TestType>;
  const TestType infinity = Limits::infinity();
  const TestType large = Limits::max() / 64;                            // 40 of them have a sum
  const double normal = -std::log(static_cast<double>(Limits::min()));  // exp(-normal) is the least normal number
  for (const Index q_len : {1, 40}) {                                   // streamed and packed
    Inputs<TestType> in = with_logits<TestType>(q_len, 40, random, [](Index) { return 0.0; });
    for (const double sink : {0.0, normal - 5, normal + 5, 1.5 * normal}) {
      INFO("q_len " << q_len << " sink " << sink);
      const std::vector<TestType> sinks(2, static_cast<TestType>(sink));
      std::fill(in.value.begin(), in.value.end(), large);
      const auto finite = run(attention, in, {.sink_logits = sinks});
      for (Index token = 0; token < q_len; ++token) {
        const auto keys = static_cast<long double>(40 - q_len + token + 1);
        const long double expected = large * keys / (keys + std::exp(static_cast<long double>(sinks[0])));
        INFO("token " << token << " expected " << expected);
        const auto row = static_cast<std::size_t>(token * 2 * 8);
        CHECK(std::abs(finite.out[row] / expected - 1) <=
              static_cast<long double>((16 + 2 * normal) * Limits::epsilon()));
      }
      std::fill(in.value.begin(), in.value.end(), infinity);
      const auto infinite = run(attention, in, {.sink_logits = sinks});
      CHECK(infinite.out == std::vector<TestType>(infinite.out.size(), infinity));
    }
    std::fill(in.value.begin(), in.value.end(), large);
    const auto none_left = run(attention, in, {.sink_logits = std::vector<TestType>(2, infinity)});
    CHECK(none_left.out == std::vector<TestType>(none_left.out.size(), TestType{0}));
  }
}

TEMPLATE_TEST_CASE("states whose logits are far apart merge by their weight, in any order", "", float, double) {
  Random random;
  const Inputs<TestType> in({1, 3, 3, 2, 1, 4, 4}, random);
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double apart : {0.0, 1.0, 80.0, 1000.0, infinity}) {
    Outputs<TestType> high(in), low(in), merged(in), reversed(in);
    std::fill(high.out.begin(), high.out.end(), TestType{1});
    std::fill(low.out.begin(), low.out.end(), TestType{3});
    std::fill(high.lse.begin(), high.lse.end(), TestType{500});
    std::fill(low.lse.begin(), low.lse.end(), static_cast<TestType>(500 - apart));
    merge_states({high.state(), low.state()}, merged);
    merge_states({low.state(), high.state()}, reversed);
    const double share = 1 / (1 + std::exp(-apart));
    // A handful of operations round: two weights, their sum and its logarithm, two products and theirs.
    const double rounding = 4 * static_cast<double>(std::numeric_limits<TestType>::epsilon());
    for (const auto* result : {&merged, &reversed}) {
      CHECK(std::abs(static_cast<double>(result->out[0]) - (share + 3 * (1 - share))) <= 3 * rounding);
      CHECK(std::abs(static_cast<double>(result->lse[0]) - (500 - std::log(share))) <= 500 * rounding);
    }
  }
}
