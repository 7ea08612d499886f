// Logits: scales and caps to the ends of what the scalar of the arithmetic holds, and beyond; how far large ones are
// off.
#include "support/catch.hpp"
#include "support/problem.hpp"

using namespace dca_test;

namespace {

template <class T>
constexpr double smallest = static_cast<double>(std::numeric_limits<T>::min());
template <class T>
constexpr double largest = static_cast<double>(std::numeric_limits<T>::max());

constexpr Index kv_len = 40;

/// Queries for packed products, and few enough for streamed ones.
constexpr Index query_lengths[] = {kv_len, 2};

template <class T>
Inputs<T> inputs(Index q_len, double query_gain = 1.0, double key_gain = 1.0) {
  Random random;
  Inputs<T> in({1, q_len, kv_len, 2, 1, 16, 16}, random, query_gain);
  for (T& x : in.key) x *= static_cast<T>(key_gain);
  return in;
}

template <class T>
dca::CausalAttention<T> causal(const Ropes& ropes, std::optional<double> scale, std::optional<double> cap = {}) {
  return dca::CausalAttention<T>({.rope = ropes.library, .softmax_scale = scale, .logit_softcap = cap});
}

/// A description of how far a call is from the definition; empty where it is near.
template <class T>
std::string check(const Inputs<T>& in, const Ropes& ropes, double scale, double cap = 0.0) {
  const auto attention = causal<T>(ropes, scale != 0.0 ? std::optional(scale) : std::nullopt,
                                   cap != 0.0 ? std::optional(cap) : std::nullopt);
  const reference::Options options{.q_offset = kv_len - in.sizes.q_len, .softmax_scale = scale, .logit_softcap = cap};
  return difference(run(attention, in), reference_of(in, reference::causal(), ropes.reference, options));
}

}  // namespace

TEMPLATE_TEST_CASE("a cap that the scalar cannot hold is none, bit for bit", "", float, double) {
  const Ropes ropes = make_ropes(16);
  for (const Index q_len : query_lengths) {
    const Inputs<TestType> in = inputs<TestType>(q_len);
    const auto uncapped = run(causal<TestType>(ropes, {}), in);
    for (const double cap : {largest<TestType>, 0.6 * largest<TestType>,
                             std::min(largest<double>, 3 * largest<TestType>), largest<double>}) {
      INFO("cap " << cap << ", q_len " << q_len);
      CHECK(same_bits(run(causal<TestType>(ropes, {}, cap), in), uncapped));
    }
  }
}

TEMPLATE_TEST_CASE("caps that the scalar holds are as defined, from the smallest to the largest", "", float, double) {
  const Ropes ropes = make_ropes(16);
  for (const Index q_len : query_lengths) {
    const Inputs<TestType> in = inputs<TestType>(q_len);
    for (const double cap : {0.7 * smallest<TestType>, 10 * smallest<TestType>, 1e-30, 1e-6, 0.1, 5.0, 50.0, 1e6, 1e9,
                             1e20, 1e30, 1e36, 1e38, 1e-3 * largest<TestType>, 0.49 * largest<TestType>}) {
      INFO("cap " << cap << ", q_len " << q_len);
      CHECK(check(in, ropes, 0.0, cap) == "");
    }
  }
}

TEMPLATE_TEST_CASE("scales that the scalar holds are as defined, from the smallest to the largest", "", float, double) {
  const Ropes ropes = make_ropes(16);
  const auto root = [](double x) { return std::sqrt(std::abs(x)); };
  for (const Index q_len : query_lengths) {
    for (const double scale : {0.7 * smallest<TestType>, -10 * smallest<TestType>, 1e-30, -1.0, 1e30,
                               1e-4 * largest<TestType>, 0.69 * largest<TestType>}) {
      // Queries and keys that make up for it; their products must be held as well.
      const double gain = 0.2 / root(scale);
      const Inputs<TestType> in = inputs<TestType>(q_len, gain, gain);
      INFO("scale " << scale << ", q_len " << q_len);
      CHECK(check(in, ropes, scale) == "");
      CHECK(check(in, ropes, scale, 2.0) == "");
    }
    for (const double factor : {2 * root(smallest<TestType>), 1e-5, 1e5, 0.9 * root(largest<TestType>)}) {
      const Inputs<TestType> in = inputs<TestType>(q_len, 1 / factor, 1 / factor);
      INFO("attention factor " << factor << ", q_len " << q_len);
      CHECK(check(in, make_ropes(16, 10000.0, factor), 0.0) == "");
    }
    // Only what features are multiplied by must be held.
    CHECK(check(inputs<TestType>(q_len), make_ropes(16, 10000.0, 1e30), 1e-60) == "");
    CHECK(check(inputs<TestType>(q_len), make_ropes(16, 10000.0, 1e-30), 1e60) == "");
  }
}

TEMPLATE_TEST_CASE("a scale of 0 weighs all keys alike", "", float, double) {
  const Inputs<TestType> in = inputs<TestType>(kv_len);
  const auto outputs = run(causal<TestType>(make_ropes(16, 10000.0, 1e25), 0.0), in);
  for (Index row = 0; row < kv_len; ++row) {
    double mean = 0.0;
    for (Index j = 0; j <= row; ++j) mean += static_cast<double>(in.value[static_cast<std::size_t>(j * 16)]);
    mean /= static_cast<double>(row + 1);
    CHECK(std::abs(static_cast<double>(outputs.out[static_cast<std::size_t>(row * 32)]) - mean) <=
          weight_bound<TestType>({}));
    CHECK(std::abs(static_cast<double>(outputs.lse[static_cast<std::size_t>(row * 2)]) -
                   std::log(static_cast<double>(row + 1))) <= 4 * weight_bound<TestType>({}));
  }
}

TEMPLATE_TEST_CASE("what vanishes in the scalar, or overflows, is refused by name before anything is written", "",
                   float, double) {
  const Ropes ropes = make_ropes(16);
  for (const double cap : {5e-324, 0.1 * smallest<TestType>, 0.69 * smallest<TestType>}) {
    CHECK_THROWS_WITH(causal<TestType>(ropes, {}, cap), contains("dca: logit_softcap: ") && contains("e-"));
  }
  for (const double scale : {5e-324, 0.69 * smallest<TestType>, 0.7 * largest<TestType>, -largest<double>}) {
    CHECK_THROWS_WITH(causal<TestType>(ropes, scale), contains("dca: softmax_scale: ") && contains("times log2(e)"));
  }
  const auto refused = [](const dca::CausalAttention<TestType>& attention, const std::string& message) {
    const Inputs<TestType> in = inputs<TestType>(kv_len);
    const Operands<TestType> x = in.operands();
    Outputs<TestType> outputs(in);
    const Outputs<TestType> before = outputs;
    CHECK_THROWS_WITH(attention(Eigen::DefaultDevice{}, x.query, x.key, x.value, outputs.out_view()),
                      contains(message));
    CHECK(same_bits(outputs, before));
  };
  for (const double factor : {1e-200, 0.5 * std::sqrt(smallest<TestType>), 3 * std::sqrt(largest<TestType>), 1e200}) {
    INFO("attention factor " << factor);
    refused(causal<TestType>(make_ropes(16, 10000.0, factor), {}), "dca: attention_factor: ");
    CHECK_THROWS_WITH(causal<TestType>(make_ropes(16, 10000.0, factor), 1.0), contains("dca: attention_factor: "));
  }
  // The features that pass through unrotated are multiplied by the scale alone.
  refused(causal<TestType>(make_ropes(8, 10000.0, 1e10), 0.1 * smallest<TestType>), "dca: softmax_scale: ");
}

TEST_CASE("frequencies whose angles overflow at some position are refused by name") {
  CHECK_THROWS_WITH(dca::RotaryEmbedding({.inv_freq = {1e290}}), contains("dca: inv_freq: 1e+290"));
  CHECK_NOTHROW(dca::RotaryEmbedding({.inv_freq = {1e280}}));
}

TEMPLATE_TEST_CASE("logits whose products have one sign are off by no more than their sum explains", "", float,
                   double) {
  const double unit_roundoff = static_cast<double>(std::numeric_limits<TestType>::epsilon()) / 2;
  const double sums_rounded = sizeof(TestType) == sizeof(double) ? 2 : 1;  // the reference's as well
  const Ropes ropes = make_ropes(2);
  for (const Index head_dim : {64, 128, 256, 512}) {
    for (const double spread : {0.0, 1e-3, 0.1}) {  // 0: all features are the same, and all additions round alike
      for (const Index q_len : query_lengths) {
        Random random(static_cast<std::uint64_t>(head_dim));
        Inputs<TestType> in({1, q_len, kv_len, 4, 1, head_dim, 16}, random);
        const auto alike = [&](TestType x) {
          return static_cast<TestType>(1 + spread * std::abs(static_cast<double>(x)));
        };
        for (TestType& x : in.query) x = 100 * alike(x);
        for (TestType& x : in.key) x = alike(x);
        const auto expected = reference_of(in, reference::causal(), ropes.reference, {.q_offset = kv_len - q_len});
        const auto actual = run(causal<TestType>(ropes, {}), in);
        const double logit = reference::largest_logit(to_array(in.query, in.query_shape()),
                                                      to_array(in.key, in.key_shape()), ropes.reference, 0.0);
        const auto features = static_cast<double>(head_dim);
        INFO("head_dim " << head_dim << ", spread " << spread << ", q_len " << q_len);
        CHECK(difference(actual, expected, {.largest_logit = logit, .alike_features = features}) == "");
        CHECK(largest_error(actual.lse, expected.lse) <= sums_rounded * (5 + features / 2) * unit_roundoff * logit);
      }
    }
  }
}
