#include "support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace dca_test::reference {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct Logits {
  std::vector<double> values;
  std::vector<std::int64_t> keys;  // absolute positions, one per value
};

// Rotated keys of one kv head, each turned again only when its position changes.
class RotatedKeys {
 public:
  RotatedKeys(const Array& k, const Rope& rope, std::int64_t batch, std::int64_t kv_head)
      : k_(k), rope_(rope), batch_(batch), kv_head_(kv_head), rows_(static_cast<std::size_t>(k.shape[1])) {}

  const std::vector<double>& at(std::int64_t j, std::int64_t position) {
    auto& [known_position, row] = rows_[static_cast<std::size_t>(j)];
    if (known_position != position) {
      row = rotated(k_.row(batch_, j, kv_head_), k_.shape[3], rope_, position);
      known_position = position;
    }
    return row;
  }

 private:
  const Array& k_;
  const Rope& rope_;
  std::int64_t batch_, kv_head_;
  struct Row {
    std::int64_t position = std::numeric_limits<std::int64_t>::min();
    std::vector<double> features{};
  };
  std::vector<Row> rows_;
};

Logits logits_of(const double* query, std::int64_t i, RotatedKeys& keys, std::int64_t kv_len, std::int64_t head_dim,
                 const PositionMatrix& positions, const Rope& rope, const Options& options) {
  const double scale =
      options.softmax_scale != 0.0 ? options.softmax_scale : 1.0 / std::sqrt(static_cast<double>(head_dim));
  std::map<std::int64_t, std::vector<double>> turned;
  Logits logits;
  for (std::int64_t j = 0; j < kv_len; ++j) {
    const std::optional<Positions> at = positions(i, j);
    if (!at) continue;
    std::vector<double>& q = turned[at->query];
    if (q.empty()) q = rotated(query, head_dim, rope, at->query);
    const std::vector<double>& k = keys.at(j, at->key);
    double sum = 0.0;
    for (std::size_t d = 0; d < q.size(); ++d) sum += q[d] * k[d];
    sum *= scale;
    if (options.logit_softcap > 0.0) sum = options.logit_softcap * std::tanh(sum / options.logit_softcap);
    logits.values.push_back(sum);
    logits.keys.push_back(j);
  }
  return logits;
}

// Softmax of one row; NaN wins the maximum, so that it reaches every output as in IEEE arithmetic.
double write_row(const Logits& logits, const Array& v, std::int64_t batch, std::int64_t kv_head, const double* sink,
                 double* out) {
  if (logits.values.empty()) return -infinity;
  double max = -infinity;
  for (const double s : logits.values) max = std::isnan(s) || s > max ? s : max;
  double total = 0.0;
  for (const double s : logits.values) total += std::exp(s - max);
  const double lse = max + std::log(total);
  double denominator = lse;
  if (sink != nullptr) {
    const double high = std::max(lse, *sink);
    denominator = high + std::log(std::exp(lse - high) + std::exp(*sink - high));
  }
  for (std::size_t n = 0; n < logits.values.size(); ++n) {
    const double p = std::exp(logits.values[n] - denominator);
    const double* value = v.row(batch, logits.keys[n], kv_head);
    for (std::int64_t d = 0; d < v.shape[3]; ++d) out[d] += p * value[d];
  }
  return lse;
}

double largest_norm(const Array& x, const Rope& rope) {
  const auto rotary = 2 * rope.inv_freq.size();
  const auto features = static_cast<std::size_t>(x.shape[3]);
  double largest = 0.0;
  for (std::size_t first = 0; features > 0 && first < x.data.size(); first += features) {
    double sum = 0.0;
    for (std::size_t d = 0; d < features; ++d) {
      const double value = x.data[first + d] * (d < rotary ? rope.attention_factor : 1.0);
      sum += value * value;
    }
    largest = std::max(largest, sum);
  }
  return std::sqrt(largest);
}

}  // namespace

std::vector<double> inverse_frequencies(std::int64_t rotary_dim, double theta, double position_scale) {
  std::vector<double> inv_freq;
  for (std::int64_t d = 0; d < rotary_dim; d += 2) {
    inv_freq.push_back(1.0 / std::pow(theta, static_cast<double>(d) / static_cast<double>(rotary_dim)) /
                       position_scale);
  }
  return inv_freq;
}

PositionMatrix causal() {
  return [](std::int64_t i, std::int64_t j) -> std::optional<Positions> {
    if (j > i) return std::nullopt;
    return Positions{i, j};
  };
}

PositionMatrix dual_chunk(std::int64_t chunk_size, std::int64_t local_window) {
  const std::int64_t n = chunk_size - local_window;
  return [n, chunk_size](std::int64_t i, std::int64_t j) -> std::optional<Positions> {
    if (j > i) return std::nullopt;
    const std::int64_t r = i % n;
    const std::int64_t gap = i / n - j / n;
    if (gap == 0) return Positions{r, j % n};
    if (gap == 1) return Positions{std::min(r + n, chunk_size), j % n};
    return Positions{std::min(2 * n - 1, chunk_size), j % n};
  };
}

std::vector<double> rotated(const double* row, std::int64_t features, const Rope& rope, std::int64_t position) {
  std::vector<double> turned(row, row + features);
  const std::size_t pairs = rope.inv_freq.size();
  for (std::size_t m = 0; m < pairs; ++m) {
    const double angle = static_cast<double>(position) * rope.inv_freq[m];
    const double c = std::cos(angle) * rope.attention_factor, s = std::sin(angle) * rope.attention_factor;
    const std::size_t a = rope.interleaved ? 2 * m : m, b = rope.interleaved ? 2 * m + 1 : m + pairs;
    turned[a] = row[a] * c - row[b] * s;
    turned[b] = row[b] * c + row[a] * s;
  }
  return turned;
}

Result attention(const Array& q, const Array& k, const Array& v, const PositionMatrix& positions, const Rope& rope,
                 const Options& options) {
  const std::int64_t q_len = q.shape[1], heads = q.shape[2], group = heads / k.shape[2];
  Result result{Array({q.shape[0], q_len, heads, v.shape[3]}), Array({q.shape[0], q_len, heads})};
  for (std::int64_t batch = 0; batch < q.shape[0]; ++batch) {
    for (std::int64_t head = 0; head < heads; ++head) {
      RotatedKeys keys(k, rope, batch, head / group);
      const double* sink = options.sinks.empty() ? nullptr : &options.sinks[static_cast<std::size_t>(head)];
      for (std::int64_t row = 0; row < q_len; ++row) {
        const Logits logits = logits_of(q.row(batch, row, head), options.q_offset + row, keys, k.shape[1], q.shape[3],
                                        positions, rope, options);
        result.lse.data[static_cast<std::size_t>((batch * q_len + row) * heads + head)] =
            write_row(logits, v, batch, head / group, sink, result.out.row(batch, row, head));
      }
    }
  }
  return result;
}

double largest_logit(const Array& q, const Array& k, const Rope& rope, double softmax_scale) {
  const double scale =
      softmax_scale != 0.0 ? std::abs(softmax_scale) : 1.0 / std::sqrt(static_cast<double>(q.shape[3]));
  return scale * largest_norm(q, rope) * largest_norm(k, rope);
}

}  // namespace dca_test::reference
