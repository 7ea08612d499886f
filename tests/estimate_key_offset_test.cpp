// Offsets that are estimated: of the pairs of features that stand out, and of no others.
#include <limits>

#include "support/catch.hpp"
#include "support/problem.hpp"

using namespace dca_test;

namespace {

constexpr Index kv_heads = 2, head_dim = 32, rotary_dim = 24;

/// Keys [length, kv_heads, head_dim] with `bias` [kv_heads * head_dim] added.
std::vector<float> keys_of(Index length, const std::vector<float>& bias, Random& random) {
  std::vector<float> keys = random.normal<float>(length * kv_heads * head_dim);
  for (std::size_t k = 0; k < keys.size(); ++k) keys[k] += bias[k % bias.size()];
  return keys;
}

template <class X>
std::vector<float> estimate(const std::vector<X>& keys, const dca::KeyOffsetOptions& options = {},
                            bool interleaved = false) {
  const auto length = std::ssize(keys) / (kv_heads * head_dim);
  return dca::estimate_key_offset(make_ropes(rotary_dim, 1e4, 1.0, interleaved).library,
                                  dca::contiguous(keys.data(), {length, kv_heads, head_dim}), options);
}

std::vector<std::size_t> features_of(const std::vector<float>& offset) {
  std::vector<std::size_t> found;
  for (std::size_t d = 0; d < offset.size(); ++d) {
    if (offset[d] != 0) found.push_back(d);
  }
  return found;
}

/// 30 and -8 in features 3 and 15 of kv_head 0, 9 in feature 29 of kv_head 1, which does not turn.
std::vector<float> some_bias() {
  std::vector<float> bias(kv_heads * head_dim);
  bias[3] = 30;
  bias[15] = -8;
  bias[head_dim + 29] = 9;
  return bias;
}

}  // namespace

TEST_CASE("an estimate is the mean of the pairs that stand out, and 0 elsewhere") {
  Random random;
  const auto keys = keys_of(300, some_bias(), random);
  // By half, 3 turns with 15; features 28 and 29 do not turn, and are a pair.
  const auto offset = estimate(keys);
  CHECK(features_of(offset) == std::vector<std::size_t>{3, 15, head_dim + 28, head_dim + 29});
  for (const std::size_t d : features_of(offset)) {
    double mean = 0;
    for (std::size_t k = d; k < keys.size(); k += kv_heads * head_dim) mean += static_cast<double>(keys[k]) / 300;
    CHECK(std::abs(static_cast<double>(offset[d]) - mean) < 1e-5);
  }
  CHECK(features_of(estimate(keys, {}, true)) == std::vector<std::size_t>{2, 3, 14, 15, head_dim + 28, head_dim + 29});
}

TEST_CASE("keys without a bias have no offset") {
  Random random;
  for (const Index length : {16, 300}) {
    CHECK(features_of(estimate(keys_of(length, std::vector<float>(kv_heads * head_dim), random))).empty());
  }
}

TEST_CASE("an estimate keeps to the pairs that stand out most, and to what stands out") {
  std::vector<float> bias(kv_heads * head_dim, 1.0F);  // a model's bias is a single key
  for (const std::size_t d : {2U, 5U, 7U}) bias[d] = 10.0F + static_cast<float>(d);
  CHECK(features_of(estimate(bias)) == std::vector<std::size_t>{2, 5, 7, 14, 17, 19});
  CHECK(features_of(estimate(bias, {.most_pairs = 2})) == std::vector<std::size_t>{5, 7, 17, 19});
  CHECK(features_of(estimate(bias, {.most_pairs = 0})).empty());
  CHECK(features_of(estimate(bias, {.stands_out = 10})) == std::vector<std::size_t>{5, 7, 17, 19});
  CHECK(features_of(estimate(bias, {.stands_out = 100})).empty());
  CHECK(features_of(estimate(bias, {.most_pairs = 100, .stands_out = 0.5})).size() == bias.size());
}

TEST_CASE("an estimate takes a batch, keys of any type, and leaves out pairs that are not finite") {
  Random random;
  std::vector<float> keys = keys_of(64, some_bias(), random);
  for (float& x : keys) x = static_cast<float>(static_cast<Eigen::half>(x));
  const auto expected = estimate(keys);
  std::vector<Eigen::half> narrow;
  for (const float x : keys) narrow.push_back(static_cast<Eigen::half>(x));
  CHECK(estimate(narrow) == expected);
  CHECK(estimate(std::vector<double>(keys.begin(), keys.end())) == expected);
  CHECK(dca::estimate_key_offset(make_ropes(rotary_dim).library,
                                 dca::contiguous(keys.data(), {4, 16, kv_heads, head_dim})) == expected);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto spoiled = keys;
    spoiled[20 * kv_heads * head_dim + 15] = bad;  // of the pair 3, 15
    CHECK(features_of(estimate(spoiled)) == std::vector<std::size_t>{head_dim + 28, head_dim + 29});
  }
}

TEST_CASE("an estimate of nothing, or with options out of range, is refused") {
  const std::vector<float> keys(kv_heads * head_dim, 1.0F);
  const auto of = [&](const dca::Extents& shape) {
    return dca::estimate_key_offset(make_ropes(rotary_dim).library, dca::contiguous(keys.data(), shape));
  };
  CHECK_THROWS_WITH(of({0, kv_heads, head_dim}), contains("dca: key: no tokens; must be at least 1"));
  CHECK_THROWS_WITH(of({kv_heads, head_dim}), contains("dca: key: rank 2"));
  CHECK_THROWS_WITH(of({4, 1, 16}), contains("dca: rotary_dim: 24; must be at most head_dim, 16"));
  CHECK_THROWS_WITH(estimate(keys, {.most_pairs = -1}), contains("dca: most_pairs: -1; must be at least 0"));
  for (const double bad : {-0.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_WITH(estimate(keys, {.stands_out = bad}), contains("dca: stands_out: ") && contains("at least 0"));
  }
}
