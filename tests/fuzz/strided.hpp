// Tensors in memory of any layout, with something to notice between the elements.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <dca/tensor/tensor_view.hpp>
#include <vector>

#include "fuzz/bytes.hpp"
#include "support/array.hpp"

namespace dca_fuzz {

using dca::Index;

/// A tensor [batch, length, heads, features], or [batch, length, heads], with outer dimensions in any order, gaps, and
/// strides of both signs, as the bytes say. All memory is NaN until it is written, and ends with the last element.
template <class E>
class Strided {
 public:
  Strided(Bytes& bytes, const dca_test::Shape& shape) : shape_(shape) {
    std::array<std::size_t, 3> order{2, 1, 0};  // from the inside out
    switch (bytes.integer(0, 4)) {
      case 1:  // heads before length
        order = {1, 2, 0};
        break;
      case 2:
        order = {0, 2, 1};
        break;
      case 3:
        order = {1, 0, 2};
        break;
      default:
        break;
    }
    const bool gaps = bytes.one_in(3), turned = bytes.one_in(8);
    drops_batch_ = shape[0] == 1 && bytes.one_in(4);
    Index extent = shape.size() == 4 ? shape[3] : 1;
    bool empty = false;
    lead_ = gaps ? bytes.integer(0, 3) : 0;
    for (const std::size_t k : order) {
      strides_[k] = extent + (gaps ? bytes.integer(0, 3) : 0);
      extent += strides_[k] * std::max<Index>(shape[k] - 1, 0);
      empty = empty || shape[k] == 0;
      if (turned && bytes.one_in(2)) {
        first_ += strides_[k] * std::max<Index>(shape[k] - 1, 0);
        strides_[k] = -strides_[k];
      }
    }
    memory_.resize(static_cast<std::size_t>(lead_ + (empty ? 1 : extent)));
    std::memset(static_cast<void*>(memory_.data()), 0xff, memory_.size() * sizeof(E));
    if (empty) first_ = 0;
    before_ = memory_;
  }

  dca::TensorView<E> view() {
    const bool features = shape_.size() == 4;
    E* const data = memory_.data() + lead_ + first_;
    const Index b = shape_[0], l = shape_[1], h = shape_[2], sb = strides_[0], sl = strides_[1], sh = strides_[2];
    if (!features && drops_batch_) return {data, {l, h}, {sl, sh}};
    if (!features) return {data, {b, l, h}, {sb, sl, sh}};
    if (drops_batch_) return {data, {l, h, shape_[3]}, {sl, sh, 1}};
    return {data, {b, l, h, shape_[3]}, {sb, sl, sh, 1}};
  }
  dca::TensorView<const E> view() const { return const_cast<Strided*>(this)->view(); }

  void write(const dca_test::Array& values) {
    auto value = values.data.begin();
    for_each_place([&](std::size_t place) { memory_[place] = static_cast<E>(*value++); });
    before_ = memory_;
  }
  std::vector<double> read() const {
    std::vector<double> values;
    for_each_place([&](std::size_t place) { values.push_back(static_cast<double>(memory_[place])); });
    return values;
  }

  /// Whether no byte has changed since the last write.
  bool untouched() const { return same_bytes(memory_, before_); }
  /// Whether nothing but elements has changed.
  bool gaps_untouched() const {
    std::vector<E> now = memory_;
    for_each_place([&](std::size_t place) { now[place] = before_[place]; });
    return same_bytes(now, before_);
  }
  void clear() { memory_ = before_; }

 private:
  static bool same_bytes(const std::vector<E>& a, const std::vector<E>& b) {
    return std::memcmp(static_cast<const void*>(a.data()), static_cast<const void*>(b.data()), a.size() * sizeof(E)) ==
           0;
  }

  template <class F>
  void for_each_place(const F& f) const {
    const Index features = shape_.size() == 4 ? shape_[3] : 1;
    for (Index b = 0; b < shape_[0]; ++b) {
      for (Index l = 0; l < shape_[1]; ++l) {
        for (Index h = 0; h < shape_[2]; ++h) {
          const Index row = lead_ + first_ + b * strides_[0] + l * strides_[1] + h * strides_[2];
          for (Index d = 0; d < features; ++d) f(static_cast<std::size_t>(row + d));
        }
      }
    }
  }

  dca_test::Shape shape_;
  std::array<Index, 3> strides_{};
  Index first_ = 0;  // of element (0, 0, 0)
  Index lead_ = 0;   // elements before the tensor
  bool drops_batch_ = false;
  std::vector<E> memory_, before_;
};

}  // namespace dca_fuzz
