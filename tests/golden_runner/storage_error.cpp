#include "golden_runner/storage_error.hpp"

#include <cmath>

namespace dca_test {
namespace {

/// The largest |q| of the case times what turns |k| into a logit.
double largest_query(const GoldenCase& golden) {
  const GoldenParameters& p = golden.parameters;
  const auto features = static_cast<std::size_t>(p.head_dim);
  double largest = 0;
  for (std::size_t first = 0; first < golden.query.data.size(); first += features) {
    double sum = 0;
    for (std::size_t d = 0; d < features; ++d) sum += golden.query.data[first + d] * golden.query.data[first + d];
    largest = std::max(largest, std::sqrt(sum));
  }
  const double scale = p.softmax_scale != 0 ? p.softmax_scale : 1 / std::sqrt(static_cast<double>(p.head_dim));
  return std::abs(scale) * largest * std::max(1.0, p.attention_factor * p.attention_factor);
}

StorageError rounded(double unit_roundoff, const GoldenCase& golden) {
  const double largest = largest_finite(golden.value);
  const double smallest = std::ldexp(1.0, -25);  // half the smallest number of Eigen::half
  return {unit_roundoff * golden.magnitudes().largest_logit +
              smallest * largest_query(golden) * std::sqrt(static_cast<double>(golden.parameters.head_dim)),
          unit_roundoff * largest + smallest, largest};
}

StorageError quantised(double steps, const GoldenCase& golden) {
  const double largest = largest_finite(golden.value), slack = 1.001;  // the scale is rounded to float
  const double key = std::sqrt(2.0) * largest_finite(golden.key) / steps;
  return {slack * key * largest_query(golden) * std::sqrt(static_cast<double>(golden.parameters.head_dim)),
          slack * largest / steps, largest};
}

}  // namespace

StorageError storage_error(KeyValueType type, const GoldenCase& golden) {
  switch (type) {
    case KeyValueType::scalar:
      return {};
    case KeyValueType::half:
      return rounded(std::ldexp(1.0, -11), golden);
    case KeyValueType::bfloat16:
      return rounded(std::ldexp(1.0, -8), golden);
    case KeyValueType::int8:
      return quantised(254, golden);
    case KeyValueType::int4:
      return quantised(14, golden);
  }
  return {};
}

}  // namespace dca_test
