// Everything a caller can get wrong, checked before any work.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <span>

#include "dca/tensor/tensor_view.hpp"

namespace dca::detail {

inline Text describe(const Extents& shape) {
  Text text = "[";
  for (int k = 0; k < shape.rank(); ++k) text = text + (k > 0 ? ", " : "") + to_text(shape[k]);
  return text + "]";
}

/// Most heads, features, and tokens of a block: no model comes near, and below it no product of sizes overflows.
inline constexpr Index most_size = Index{1} << 24;

inline void check_size(const char* argument, Index size, Index least) {
  if (size < least || size > most_size) {
    fail(argument, to_text(size), "must be from " + to_text(least) + " to " + to_text(most_size));
  }
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

/// What is checked of a view, whatever its elements.
struct ViewShape {
  Extents shape;
  Extents strides;
};

/// As checked_view, for elements of `size` bytes.
inline ViewShape checked_shape(const char* argument, const void* data, Extents shape, Extents strides, Index size,
                               int rank, bool has_features) {
  const int given = shape.rank();
  if ((given != rank && given != rank - 1) || strides.rank() != given) {
    fail(argument, "rank " + to_text(given) + " with " + to_text(strides.rank()) + " strides",
         "must be " + to_text(rank) + ", or " + to_text(rank - 1) + " without a batch");
  }
  if (given == rank - 1) {
    const Extents s = shape, t = strides;
    shape = rank == 4 ? Extents{1, s[0], s[1], s[2]} : Extents{1, s[0], s[1]};
    strides = rank == 4 ? Extents{0, t[0], t[1], t[2]} : Extents{0, t[0], t[1]};
  }
  Index elements = 1;
  for (int k = 0; k < rank; ++k) {
    const bool may_be_empty = k < 2;  // batch and length
    if (shape[k] < (may_be_empty ? 0 : 1)) {
      fail(argument, "shape " + describe(shape), "heads and dims must be at least 1, batch and length at least 0");
    }
    elements = checked_product(argument, elements, std::max<Index>(shape[k], 1));
  }
  checked_product(argument, elements, size);
  if (has_features && shape[rank - 1] > 1 && strides[rank - 1] != 1) {
    fail(argument, "head_dim stride " + to_text(strides[rank - 1]), "must be 1: features are contiguous");
  }
  Index reach = 0;
  for (int k = 0; k < rank; ++k) {
    const Index stride = strides[k], steps = std::max<Index>(shape[k] - 1, 0);
    if (stride == std::numeric_limits<Index>::min()) fail(argument, "stride " + to_text(stride), "is out of range");
    const Index step = checked_product(argument, stride < 0 ? -stride : stride, steps);
    if (step > std::numeric_limits<Index>::max() / size / 2 - reach) {
      fail(argument, "strides " + describe(strides), "the memory they span must fit a signed 64-bit size");
    }
    reach += step;
  }
  bool empty = false;
  for (int k = 0; k < rank; ++k) empty = empty || shape[k] == 0;
  if (data == nullptr && !empty) fail(argument, "no data", "must point to shape " + describe(shape));
  return {shape, strides};
}

/// A view with its batch dimension in front, checked: `rank` or rank - 1 dimensions, sizes >= 0 (length) or >= 1, data
/// where there is any, strides and sizes whose products fit an Index, features contiguous where there is a head_dim.
template <class T>
TensorView<T> checked_view(const char* argument, TensorView<T> x, int rank, bool has_features) {
  const auto [shape, strides] =
      checked_shape(argument, x.data, x.shape, x.strides, static_cast<Index>(sizeof(T)), rank, has_features);
  return {x.data, shape, strides};
}

/// The bytes between the first and the last of a checked view's elements, of `size` bytes.
inline ByteRange byte_range(const void* data, const Extents& shape, const Extents& strides, Index size) {
  Index low = 0, high = 1;
  for (int k = 0; k < shape.rank(); ++k) {
    if (shape[k] == 0) return {nullptr, nullptr};
    const Index span = strides[k] * (shape[k] - 1);
    (span < 0 ? low : high) += span;
  }
  const auto* bytes = static_cast<const char*>(data);
  return {bytes + low * size, bytes + high * size};
}

template <class T>
ByteRange byte_range(const TensorView<T>& x) {
  return byte_range(x.data, x.shape, x.strides, static_cast<Index>(sizeof(T)));
}

/// A tensor whose elements, of `size` bytes, are of a type that is erased.
struct AnyTensor {
  std::byte* data = nullptr;
  Extents shape{};
  Extents strides{};
  Index size = 1;

  AnyTensor() = default;
  AnyTensor(const void* elements, const Extents& sizes, const Extents& steps, Index element_size)
      : data(static_cast<std::byte*>(const_cast<void*>(elements))), shape(sizes), strides(steps), size(element_size) {}
  template <class T>
  explicit AnyTensor(const TensorView<T>& x) : AnyTensor(x.data, x.shape, x.strides, static_cast<Index>(sizeof(T))) {}
};

/// As the other checked_view.
inline AnyTensor checked_view(const char* argument, const AnyTensor& x, int rank, bool has_features) {
  const auto [shape, strides] = checked_shape(argument, x.data, x.shape, x.strides, x.size, rank, has_features);
  return {x.data, shape, strides, x.size};
}

inline ByteRange byte_range(const AnyTensor& x) { return byte_range(x.data, x.shape, x.strides, x.size); }

/// Rows of a tensor [batch, length, heads, features] that was checked. Strides are in bytes.
struct TensorRows {
  std::byte* data = nullptr;
  Index strides[3] = {};

  TensorRows() = default;
  explicit TensorRows(const AnyTensor& x)
      : data(x.data), strides{x.strides[0] * x.size, x.strides[1] * x.size, x.strides[2] * x.size} {}

  std::byte* row(Index batch, Index token, Index head) const {
    return data + batch * strides[0] + token * strides[1] + head * strides[2];
  }
};

template <class T>
ByteRange byte_range(std::span<const T> x) {
  const auto* bytes = reinterpret_cast<const char*>(x.data());
  return {bytes, bytes + x.size_bytes()};
}

inline void check_disjoint(const char* argument, ByteRange written, const char* other, ByteRange range) {
  const std::less<const char*> before;
  if (before(written.first, range.last) && before(range.first, written.last)) {
    fail(argument, Text("shares memory with ") + other, "an output must not overlap another argument");
  }
}

/// An output's elements must not fall onto each other: sorted by stride, each dimension must step over the one below.
inline void check_no_self_overlap(const char* argument, const Extents& shape, const Extents& strides) {
  std::array<std::pair<Index, Index>, Extents::max_rank> dims{};  // |stride|, size
  int count = 0;
  for (int k = 0; k < shape.rank(); ++k) {
    const bool feature = strides.rank() == 4 && k == 3;
    const Index stride = feature ? 1 : std::abs(strides[k]);
    if (shape[k] > 1) dims[static_cast<std::size_t>(count++)] = {stride, shape[k]};
  }
  for (auto next = dims.begin(); next != dims.begin() + count; ++next) {
    std::iter_swap(next, std::min_element(next, dims.begin() + count));
  }
  Index extent = 1;
  for (int k = 0; k < count; ++k) {
    const auto [stride, size] = dims[static_cast<std::size_t>(k)];
    if (stride < extent) {
      fail(argument, "strides " + describe(strides) + " of shape " + describe(shape),
           "the elements of an output must not overlap");
    }
    extent += stride * (size - 1);
  }
}

/// Names are plain pointers: strings would allocate in calls that succeed.
inline void check_equal(const char* argument, const char* what, Index given, const char* allowed_name, Index allowed) {
  if (given != allowed) {
    fail(argument, Text(what) + " " + to_text(given),
         Text("must be that of ") + allowed_name + ", " + to_text(allowed));
  }
}

}  // namespace dca::detail
