// A remapping of your own in 25 lines. ReRoPE (Su 2023): near keys at their true distance, all others at `window`, so
// that no query ever meets a relative position beyond it. Checked against the definition, written as a double loop.
#include <dca/dca.hpp>
#include <iostream>

using dca::Index;

/// What the parts share. Whatever their functions need to know is here.
struct ReRope {
  Index window;  // largest relative position, in tokens
};

/// The `window` newest keys, as in plain RoPE.
struct Near {
  using Layout = ReRope;
  static constexpr Index query_position(const ReRope&, Index i) { return i; }
  static constexpr Index key_position(const ReRope&, Index j) { return j; }
  static constexpr dca::KeyRange keys(const ReRope& r, Index i) {
    return {std::max<Index>(0, i + 1 - r.window), i + 1};
  }
};

/// All keys before them, from `window` away.
struct Far {
  using Layout = ReRope;
  static constexpr Index query_position(const ReRope& r, Index) { return r.window; }
  static constexpr Index key_position(const ReRope&, Index) { return 0; }
  static constexpr dca::KeyRange keys(const ReRope& r, Index i) { return {0, std::max<Index>(0, i + 1 - r.window)}; }
};

using ReRopeAttention = dca::ComposedAttention<float, Far, Near>;  // one softmax, one pass

constexpr Index length = 300, head_dim = 32, window = 40;
constexpr double theta = 10000.0;

using Rows = Eigen::Tensor<float, 3, Eigen::RowMajor>;  // [length, 1 head, head_dim]

/// <R(distance) q_i, k_j> / sqrt(head_dim): pair m of features, (m, m + head_dim / 2), turned as complex numbers.
double logit(const Rows& query, const Rows& key, Index i, Index j) {
  const Index distance = std::min(i - j, window), half = head_dim / 2;
  double sum = 0;
  for (Index m = 0; m < half; ++m) {
    const double angle = static_cast<double>(distance) * std::pow(theta, -static_cast<double>(m) / half);
    const double q0 = query(i, 0, m), q1 = query(i, 0, m + half), k0 = key(j, 0, m), k1 = key(j, 0, m + half);
    sum += std::cos(angle) * (q0 * k0 + q1 * k1) + std::sin(angle) * (q0 * k1 - q1 * k0);
  }
  return sum / std::sqrt(static_cast<double>(head_dim));
}

/// Largest difference between `out` and softmax(logit) * value, in double.
double largest_error(const Rows& query, const Rows& key, const Rows& value, const Rows& out) {
  double largest = 0;
  for (Index i = 0; i < length; ++i) {
    Eigen::VectorXd sum = Eigen::VectorXd::Zero(head_dim);
    double total = 0;
    for (Index j = 0; j <= i; ++j) {
      const double weight = std::exp(logit(query, key, i, j));
      total += weight;
      for (Index d = 0; d < head_dim; ++d) sum(d) += weight * static_cast<double>(value(j, 0, d));
    }
    for (Index d = 0; d < head_dim; ++d) {
      largest = std::max(largest, std::abs(sum(d) / total - static_cast<double>(out(i, 0, d))));
    }
  }
  return largest;
}

int main() {
  Rows query(length, 1, head_dim), key(length, 1, head_dim), value(length, 1, head_dim), out(length, 1, head_dim);
  for (Rows* rows : {&query, &key, &value}) rows->setRandom();

  const ReRopeAttention attention({
      .chunks = {.window = window},
      .rope = dca::RotaryEmbedding(dca::plain_frequencies(head_dim, theta)),
  });
  attention(Eigen::DefaultDevice{}, dca::blhd(query), dca::blhd(key), dca::blhd(value), dca::blhd(out));

  const double error = largest_error(query, key, value, out);
  std::cout << "ReRoPE over " << length << " tokens is off by at most " << error << '\n';
  return error < 1e-5 ? 0 : 1;
}
