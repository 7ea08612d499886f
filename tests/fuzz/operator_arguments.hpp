// The arguments of one call, and one thing wrong with them.
#pragma once

#include <dca/dca.hpp>
#include <string>

#include "fuzz/bytes.hpp"
#include "fuzz/strided.hpp"

namespace dca_fuzz {

/// What a call gets; key and value only where they are tensors.
template <class T, class E, class O>
struct Arguments {
  dca::TensorView<const E> query, key{}, value{};
  dca::TensorView<O> out;
  dca::CallOptions<T> options;
  Index kv_heads = 1;
  Index most_offset = 0;  // largest q_offset that is allowed
  Index sequences = 1;
};

/// Makes arguments wrong in one way. Each way stands for what the contract refuses: `spoil` says which it took, or
/// "" where that way does not exist for these arguments.
template <class T, class E, class O>
class Spoiler {
 public:
  Spoiler(Bytes& bytes, Arguments<T, E, O>& arguments) : bytes_(bytes), x_(arguments) {}

  std::string spoil() {
    switch (bytes_.integer(0, 9)) {
      case 0:
      case 1:
        return shape();
      case 2:
      case 3:
        return stride();
      case 4:
        return no_data();
      case 5:
        return q_offset();
      case 6:
        return options();
      case 7:
        return overlap();
      case 8:
        return rank();
      default:
        return heads();
    }
  }

 private:
  static constexpr Index least = std::numeric_limits<Index>::min(), most = std::numeric_limits<Index>::max();

  bool dense() const { return x_.key.shape.rank() != 0; }
  Index wild() { return bytes_.pick<Index>({-1, 0, 1, 2, 7, Index{1} << 40, most, least, most / 2 + 1, -7}); }

  /// Calls f with one of the views, and the rank of its full shape.
  template <class F>
  std::string with_view(const F& f) {
    switch (bytes_.integer(0, dense() ? 4 : 2)) {
      case 0:
        return f(x_.query, "query", 4);
      case 1:
        return f(x_.out, "out", 4);
      case 2:
        return f(x_.options.lse, "lse", 3);
      case 3:
        return f(x_.key, "key", 4);
      default:
        return f(x_.value, "value", 4);
    }
  }

  static bool has_elements(const dca::Extents& shape) {
    for (int k = 0; k < shape.rank(); ++k) {
      if (shape[k] == 0) return false;
    }
    return true;
  }

  std::string shape() {
    return with_view([&](auto& view, const std::string& name, int) -> std::string {
      if (view.shape.rank() == 0) return "";
      const auto k = static_cast<int>(bytes_.integer(0, view.shape.rank() - 1));
      const Index size = wild();
      if (view.shape[k] == size) return "";
      view.shape[k] = size;
      return name + " shape " + std::to_string(k) + " is " + std::to_string(size);
    });
  }

  std::string stride() {
    return with_view([&](auto& view, const std::string& name, int rank) -> std::string {
      const int given = view.shape.rank();
      if (given == 0) return "";
      const auto k = static_cast<int>(bytes_.integer(0, given - 1));
      const bool feature = rank == 4 && k == given - 1;
      Index stride = bytes_.pick<Index>({least, most, most / 2, 0, -1, 2});
      if (stride != least && view.shape[k] < 2) return "";
      if (!feature && stride != least && stride < most / 2) {
        if (stride != 0 || name == "query" || name == "key" || name == "value") return "";  // inputs may repeat
        if (!has_elements(view.shape)) return "";
      }
      view.strides[k] = stride;
      return name + " stride " + std::to_string(k) + " is " + std::to_string(stride);
    });
  }

  std::string no_data() {
    return with_view([&](auto& view, const std::string& name, int) -> std::string {
      if (view.shape.rank() == 0 || !has_elements(view.shape)) return "";
      view.data = nullptr;
      return name + " has no data";
    });
  }

  std::string q_offset() {
    if (x_.sequences == 0) return "";
    const Index offset = bytes_.pick<Index>({-1, least, most, x_.most_offset + 1, most / 2, Index{1} << 40});
    x_.options.q_offset = offset;
    return "q_offset is " + std::to_string(offset);
  }

  std::string options() {
    const int given = x_.query.shape.rank();
    const Index heads = x_.query.shape[given - 2];
    static const std::vector<T> sinks(1000, T{0});
    static const std::vector<Index> wrong{1, -1, most, 0, 0};
    if (bytes_.one_in(2)) {
      const Index count = heads + bytes_.pick<Index>({1, -1, 2});
      if (count == 0) return "";
      x_.options.sink_logits = std::span<const T>(sinks).first(static_cast<std::size_t>(count));
      return std::to_string(count) + " sinks";
    }
    const auto first = static_cast<std::size_t>(bytes_.integer(0, 3));
    x_.options.cu_seqlens = std::span<const Index>(wrong).subspan(first, 2);
    if (first == 3 && x_.query.shape[given - 3] == 0) return "";
    return "cu_seqlens of no tensor";
  }

  std::string overlap() {
    if (!has_elements(x_.out.shape) || !has_elements(x_.query.shape)) return "";
    switch (bytes_.integer(0, 3)) {
      case 0:
        x_.out.data = reinterpret_cast<O*>(const_cast<E*>(x_.query.data));
        return "out is query";
      case 1:
        if (x_.options.lse.data == nullptr) return "";
        x_.options.lse.data = reinterpret_cast<T*>(x_.out.data);
        return "lse is out";
      case 2:
        if (!dense() || !has_elements(x_.key.shape)) return "";
        x_.out.data = reinterpret_cast<O*>(const_cast<E*>(x_.key.data));
        return "out is key";
      default:
        if (!dense() || !has_elements(x_.value.shape) || x_.options.lse.data == nullptr) return "";
        x_.options.lse.data = reinterpret_cast<T*>(const_cast<E*>(x_.value.data));
        return "lse is value";
    }
  }

  std::string rank() {
    return with_view([&](auto& view, const std::string& name, int) -> std::string {
      if (view.shape.rank() < 3) return "";
      const dca::Extents two{view.shape[0], view.shape[1]};
      (bytes_.one_in(2) ? view.strides : view.shape) = two;
      return name + " has rank 2 in one place";
    });
  }

  /// As many heads as kv_heads do not divide, everywhere.
  std::string heads() {
    const Index heads = x_.query.shape[x_.query.shape.rank() - 2] + 1;
    if (heads % x_.kv_heads == 0) return "";
    dca::Extents &query = x_.query.shape, &out = x_.out.shape, &lse = x_.options.lse.shape;
    query[query.rank() - 2] = heads;
    out[out.rank() - 2] = heads;
    if (lse.rank() != 0) lse[lse.rank() - 1] = heads;
    x_.options.sink_logits = {};
    return std::to_string(heads) + " heads";
  }

  Bytes& bytes_;
  Arguments<T, E, O>& x_;
};

}  // namespace dca_fuzz
