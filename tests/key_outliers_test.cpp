// What storages keep of keys like those of models with key biases of norm 605 in a few rotary pairs, as Qwen2.5-7B's
// first layer has them: 4096 keys of 128 features, chunks of 1024, 64 queries of 4 heads.
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;

namespace {

constexpr dca::ChunkConfig chunks{1024, 128};
constexpr Index kv_len = 4096, q_len = 64, heads = 4, head_dim = 128;
constexpr double theta = 1e6;

/// Queries `gain` times as long as keys, which have a bias in some features.
struct Outliers {
  Inputs<float> in;
  std::vector<float> bias = std::vector<float>(head_dim);

  Outliers(const std::vector<std::size_t>& features, double gain, Random& random)
      : in({1, q_len, kv_len, heads, 1, head_dim, head_dim}, random, gain) {
    double sign = 1;
    for (const std::size_t d : features) {
      bias[d] = static_cast<float>(sign * 605 / std::sqrt(static_cast<double>(features.size())));
      sign = -sign;
    }
    for (std::size_t k = 0; k < in.key.size(); ++k) in.key[k] += bias[k % head_dim];
  }
};

dca::DualChunkAttention<float> make_attention(double scale) {
  return dca::DualChunkAttention<float>(
      {.chunks = chunks, .rope = make_ropes(head_dim, theta).library, .softmax_scale = scale});
}

template <class K>
dca::KeyValueCache<K, dca::ChunkOffset, float> filled(const Inputs<float>& in, const std::vector<float>& offset) {
  auto cache = make_attention(1).make_cache<K, float>(cache_shape(in.sizes), 1, {.tokens = kv_len});
  if (!offset.empty()) cache.set_key_offset(dca::contiguous(offset.data(), {1, head_dim}));
  append_tokens(cache, 0, in, 0, 0, kv_len);
  return cache;
}

/// |actual - expected| / |expected|.
double relative_error(const std::vector<float>& actual, const Array& expected) {
  double difference = 0, norm = 0;
  for (std::size_t k = 0; k < actual.size(); ++k) {
    difference += std::pow(static_cast<double>(actual[k]) - expected.data[k], 2);
    norm += std::pow(expected.data[k], 2);
  }
  return std::sqrt(difference / norm);
}

/// The key with the largest weight, by each query: with logits so far apart that the softmax picks one, and numbers of
/// keys as values.
template <class K>
std::vector<Index> strongest_keys(const Outliers& of, const std::vector<float>& offset) {
  Inputs<float> numbered = of.in;
  for (Index j = 0; j < kv_len; ++j) {
    numbered.value[static_cast<std::size_t>(j * head_dim)] = static_cast<float>(j / 64);
    numbered.value[static_cast<std::size_t>(j * head_dim + 1)] = static_cast<float>(j % 64);
  }
  const auto found = run_on(make_attention(1e4), numbered, filled<K>(numbered, offset).view());
  std::vector<Index> keys;
  for (std::size_t row = 0; row < found.out.size(); row += head_dim) {
    keys.push_back(std::lround(found.out[row]) * 64 + std::lround(found.out[row + 1]));
  }
  return keys;
}

struct Kept {
  double error;    // of the output, relative
  Index same = 0;  // queries with the same strongest key
  Index all = 0;
};

template <class K>
Kept kept_by(const Outliers& of, const reference::Result& expected, const std::vector<Index>& strongest,
             const std::vector<float>& offset) {
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  const auto actual = run_on(make_attention(scale), of.in, filled<K>(of.in, offset).view());
  const auto found = strongest_keys<K>(of, offset);
  Kept kept{.error = relative_error(actual.out, expected.out), .all = std::ssize(found)};
  for (std::size_t k = 0; k < found.size(); ++k) kept.same += found[k] == strongest[k] ? 1 : 0;
  return kept;
}

}  // namespace

TEST_CASE("keys that a bias dominates: with its offset, 8 bits and half precision keep what matters") {
  Random random;
  const Ropes ropes = make_ropes(head_dim, theta);
  const std::pair<std::vector<std::size_t>, double> cases[] = {{{62, 63, 126, 127}, 3},
                                                               {{30, 31, 94, 95}, 3},
                                                               {{2, 3, 66, 67}, 3},
                                                               {{62, 63, 126, 127}, 1},
                                                               {{60, 61, 62, 63}, 3}};
  Index int8_same = 0, half_same = 0, all = 0;
  for (const auto& [features, gain] : cases) {
    const Outliers of(features, gain, random);
    const auto expected = dual_chunk_reference(of.in, chunks, ropes.reference);
    // Of float, whose own error is far below.
    const auto strongest = strongest_keys<float>(of, {});
    const auto of_bias =
        dca::estimate_key_offset(ropes.library, dca::contiguous(std::as_const(of.bias).data(), {1, 1, head_dim}));
    CHECK(of_bias == of.bias);
    const auto of_keys = dca::estimate_key_offset(
        ropes.library, dca::contiguous(std::as_const(of.in.key).data(), {256, 1, head_dim}));  // the first ones
    INFO("a bias of feature " << features[0] << ", gain " << gain);
    CHECK(kept_by<float>(of, expected, strongest, of_keys).error < 2e-4);
    for (const auto& offset : {of_bias, of_keys}) {
      const Kept int8 = kept_by<dca::Int8>(of, expected, strongest, offset);
      const Kept half = kept_by<Eigen::half>(of, expected, strongest, offset);
      CHECK(int8.error <= 0.02);
      CHECK(half.error <= 1e-3);
      int8_same += int8.same;
      half_same += half.same;
      all += int8.all;
    }
    const Kept without = kept_by<dca::Int8>(of, expected, strongest, {});
    CHECK(without.error > 0.2);
    CHECK(2 * without.same < without.all);
  }
  CHECK(static_cast<double>(int8_same) >= 0.97 * static_cast<double>(all));
  CHECK(static_cast<double>(half_same) >= 0.995 * static_cast<double>(all));
}
