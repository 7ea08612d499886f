// A dense array of doubles in C order: the tests' own tensor, free of the library under test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace dca_test {

using Shape = std::vector<std::int64_t>;

/// Product of the sizes; 1 for a scalar, 0 where a size is 0.
inline std::size_t element_count(const Shape& shape) {
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  return count;
}

inline std::string describe(const Shape& shape) {
  std::string text = "(";
  for (std::size_t k = 0; k < shape.size(); ++k) text += (k > 0 ? ", " : "") + std::to_string(shape[k]);
  return text + ")";
}

/// Elements of `shape`, last index fastest.
struct Array {
  Shape shape;
  std::vector<double> data;

  Array() = default;
  explicit Array(Shape sizes) : shape(std::move(sizes)), data(element_count(shape), 0.0) {}
  Array(Shape sizes, std::vector<double> elements) : shape(std::move(sizes)), data(std::move(elements)) {}

  /// First feature of row (batch, length, head) of a [batch, length, heads, features] array.
  const double* row(std::int64_t batch, std::int64_t length, std::int64_t head) const {
    return data.data() + ((batch * shape[1] + length) * shape[2] + head) * shape[3];
  }
  double* row(std::int64_t batch, std::int64_t length, std::int64_t head) {
    return data.data() + ((batch * shape[1] + length) * shape[2] + head) * shape[3];
  }
};

}  // namespace dca_test
