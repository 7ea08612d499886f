// Everything a caller can get wrong, checked before any work.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <span>

#include "dca/tensor/tensor_view.hpp"

namespace dca::detail {

inline std::string describe(const Extents& shape) {
  std::string text = "[";
  for (int k = 0; k < shape.rank(); ++k) text += (k > 0 ? ", " : "") + std::to_string(shape[k]);
  return text + "]";
}

/// First byte and one past the last that a non-empty view can touch.
struct ByteRange {
  const char* first;
  const char* last;
};

struct NamedRange {
  const char* name;
  ByteRange bytes;
};

/// A view with its batch dimension in front, checked: `rank` or rank - 1 dimensions, sizes >= 0 (length) or >= 1, data
/// where there is any, strides and sizes whose products fit an Index, features contiguous where there is a head_dim.
template <class T>
TensorView<T> checked_view(const char* argument, TensorView<T> x, int rank, bool has_features) {
  const int given = x.shape.rank();
  if ((given != rank && given != rank - 1) || x.strides.rank() != given) {
    fail(argument, "rank " + std::to_string(given) + " with " + std::to_string(x.strides.rank()) + " strides",
         "must be " + std::to_string(rank) + ", or " + std::to_string(rank - 1) + " without a batch");
  }
  if (given == rank - 1) {
    const Extents s = x.shape, t = x.strides;
    x.shape = rank == 4 ? Extents{1, s[0], s[1], s[2]} : Extents{1, s[0], s[1]};
    x.strides = rank == 4 ? Extents{0, t[0], t[1], t[2]} : Extents{0, t[0], t[1]};
  }
  Index elements = 1;
  for (int k = 0; k < rank; ++k) {
    const bool may_be_empty = k < 2;  // batch and length
    if (x.shape[k] < (may_be_empty ? 0 : 1)) {
      fail(argument, "shape " + describe(x.shape), "heads and dims must be at least 1, batch and length at least 0");
    }
    elements = checked_product(argument, elements, std::max<Index>(x.shape[k], 1));
  }
  checked_product(argument, elements, static_cast<Index>(sizeof(T)));
  if (has_features && x.shape[rank - 1] > 1 && x.strides[rank - 1] != 1) {
    fail(argument, "head_dim stride " + std::to_string(x.strides[rank - 1]), "must be 1: features are contiguous");
  }
  Index reach = 0;
  for (int k = 0; k < rank; ++k) {
    const Index stride = x.strides[k], steps = std::max<Index>(x.shape[k] - 1, 0);
    if (stride == std::numeric_limits<Index>::min())
      fail(argument, "stride " + std::to_string(stride), "is out of range");
    const Index step = checked_product(argument, stride < 0 ? -stride : stride, steps);
    if (step > std::numeric_limits<Index>::max() / static_cast<Index>(sizeof(T)) / 2 - reach) {
      fail(argument, "strides " + describe(x.strides), "the memory they span must fit a signed 64-bit size");
    }
    reach += step;
  }
  bool empty = false;
  for (int k = 0; k < rank; ++k) empty = empty || x.shape[k] == 0;
  if (x.data == nullptr && !empty) fail(argument, "no data", "must point to shape " + describe(x.shape));
  return x;
}

/// The bytes between a checked view's first and last element.
template <class T>
ByteRange byte_range(const TensorView<T>& x) {
  Index low = 0, high = 1;
  for (int k = 0; k < x.shape.rank(); ++k) {
    if (x.shape[k] == 0) return {nullptr, nullptr};
    const Index span = x.strides[k] * (x.shape[k] - 1);
    (span < 0 ? low : high) += span;
  }
  const auto* bytes = reinterpret_cast<const char*>(x.data);
  constexpr auto size = static_cast<Index>(sizeof(T));
  return {bytes + low * size, bytes + high * size};
}

template <class T>
ByteRange byte_range(std::span<const T> x) {
  const auto* bytes = reinterpret_cast<const char*>(x.data());
  return {bytes, bytes + x.size_bytes()};
}

inline void check_disjoint(const char* argument, ByteRange written, const char* other, ByteRange range) {
  const std::less<const char*> before;
  if (before(written.first, range.last) && before(range.first, written.last)) {
    fail(argument, std::string("shares memory with ") + other, "an output must not overlap another argument");
  }
}

/// An output's elements must not fall onto each other: sorted by stride, each dimension must step over the one below.
template <class T>
void check_no_self_overlap(const char* argument, const TensorView<T>& x) {
  std::array<std::pair<Index, Index>, Extents::max_rank> dims{};  // |stride|, size
  int count = 0;
  for (int k = 0; k < x.shape.rank(); ++k) {
    const bool feature = x.strides.rank() == 4 && k == 3;
    const Index stride = feature ? 1 : std::abs(x.strides[k]);
    if (x.shape[k] > 1) dims[static_cast<std::size_t>(count++)] = {stride, x.shape[k]};
  }
  for (auto next = dims.begin(); next != dims.begin() + count; ++next) {
    std::iter_swap(next, std::min_element(next, dims.begin() + count));
  }
  Index extent = 1;
  for (int k = 0; k < count; ++k) {
    const auto [stride, size] = dims[static_cast<std::size_t>(k)];
    if (stride < extent) {
      fail(argument, "strides " + describe(x.strides) + " of shape " + describe(x.shape),
           "the elements of an output must not overlap");
    }
    extent += stride * (size - 1);
  }
}

/// Names are plain pointers: strings would allocate in calls that succeed.
inline void check_equal(const char* argument, const char* what, Index given, const char* allowed_name, Index allowed) {
  if (given != allowed) {
    fail(argument, std::string(what) + " " + std::to_string(given),
         std::string("must be that of ") + allowed_name + ", " + std::to_string(allowed));
  }
}

}  // namespace dca::detail
