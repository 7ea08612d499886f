// A key offset for a model, from its key bias or from some of its keys.
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "dca/kv/feature_pairs.hpp"
#include "dca/kv/key_offset_options.hpp"
#include "dca/kv/row_functions.hpp"
#include "dca/tensor/checks.hpp"

namespace dca {

namespace detail {

/// Sums of keys, and what makes an offset of them.
class KeyMeans {
 public:
  KeyMeans(const RotaryEmbedding& rope, Index head_dim, const KeyOffsetOptions& options)
      : options_(options),
        pairs_(feature_pairs(rope, head_dim)),
        sum_(static_cast<std::size_t>(head_dim)),
        squares_(pairs_.size()) {
    if (options.most_pairs < 0) fail("most_pairs", to_text(options.most_pairs), "must be at least 0");
    if (!(options.stands_out >= 0)) fail("stands_out", to_text(options.stands_out), "must be at least 0");
  }

  void clear() {
    std::fill(sum_.begin(), sum_.end(), 0.0);
    std::fill(squares_.begin(), squares_.end(), 0.0);
    count_ = 0;
  }

  void add(std::span<const double> key) {
    ++count_;
    for (std::size_t d = 0; d < sum_.size(); ++d) sum_[d] += key[d];
    for (std::size_t m = 0; m < pairs_.size(); ++m) {
      squares_[m] += square_of(pairs_[m], key);
    }
  }

  /// Writes the offset of a kv_head.
  void write(float* offset) {
    std::fill_n(offset, sum_.size(), 0.0F);
    for (double& x : sum_) x /= static_cast<double>(count_);
    // Pairs whose keys are not finite stand out from nothing.
    for (double& x : squares_) {
      x = std::isfinite(x) ? x / static_cast<double>(count_) : std::numeric_limits<double>::infinity();
    }
    std::vector<double> typical = squares_;
    const auto middle = typical.begin() + static_cast<std::ptrdiff_t>(typical.size() / 2);
    std::nth_element(typical.begin(), middle, typical.end());
    const double least = options_.stands_out * options_.stands_out * *middle;
    std::vector<std::pair<double, std::size_t>> found;
    for (std::size_t m = 0; m < pairs_.size(); ++m) {
      const double square = square_of(pairs_[m], sum_);
      if (square > least && std::isfinite(square)) found.emplace_back(-square, m);
    }
    std::sort(found.begin(), found.end());  // by norm, then by pair
    found.resize(std::min(found.size(), static_cast<std::size_t>(options_.most_pairs)));
    for (const auto& [square, m] : found) {
      for (const Index d : {pairs_[m].first, pairs_[m].second}) {
        offset[d] = static_cast<float>(sum_[static_cast<std::size_t>(d)]);
      }
    }
  }

 private:
  static double square_of(const FeaturePair& pair, std::span<const double> x) {
    const double first = x[static_cast<std::size_t>(pair.first)];
    const double second = pair.second == pair.first ? 0.0 : x[static_cast<std::size_t>(pair.second)];
    return first * first + second * second;
  }

  KeyOffsetOptions options_;
  std::vector<FeaturePair> pairs_;
  std::vector<double> sum_, squares_;
  Index count_ = 0;
};

/// The keys of estimate_key_offset with their batch in front. Throws what that throws.
inline AnyTensor checked_keys(const RotaryEmbedding& rope, const AnyTensor& key) {
  const AnyTensor keys = checked_view("key", key, 4, true);
  const Index head_dim = keys.shape[3];
  if (keys.shape[0] == 0 || keys.shape[1] == 0) fail("key", "no tokens", "must be at least 1");
  if (rope.rotary_dim() > head_dim) {
    fail("rotary_dim", to_text(rope.rotary_dim()), "must be at most head_dim, " + to_text(head_dim));
  }
  return keys;
}

/// As estimate_key_offset, with keys that `decode` makes doubles (null: they are), to offset [kv_heads * head_dim],
/// which is written when nothing can fail any more.
inline void write_key_offset(const RotaryEmbedding& rope, const AnyTensor& key, DecodeRow<double> decode,
                             const KeyOffsetOptions& options, std::span<float> offset) {
  const AnyTensor keys = checked_keys(rope, key);
  const Index count = checked_product("key", keys.shape[0], keys.shape[1]);
  const Index kv_heads = keys.shape[2], head_dim = keys.shape[3];
  const Index size = checked_product("key", kv_heads, head_dim);
  if (static_cast<Index>(offset.size()) != size) {
    fail("key_offset", "size " + to_text(static_cast<Index>(offset.size())),
         "must be kv_heads times head_dim, " + to_text(size));
  }
  KeyMeans means(rope, head_dim, options);
  std::vector<double> row(static_cast<std::size_t>(head_dim));
  std::vector<float> made(static_cast<std::size_t>(size));
  const TensorRows rows(keys);
  for (Index head = 0; head < kv_heads; ++head) {
    means.clear();
    for (Index k = 0; k < count; ++k) {
      const std::byte* const place = rows.row(k / keys.shape[1], k % keys.shape[1], head);
      if (decode == nullptr) {
        std::copy_n(reinterpret_cast<const double*>(place), head_dim, row.begin());
      } else {
        decode(ByteRow{place}, head_dim, row.data());
      }
      means.add(row);
    }
    means.write(made.data() + head * head_dim);
  }
  std::copy(made.begin(), made.end(), offset.begin());
}

}  // namespace detail

/// An offset [kv_heads, head_dim] for caches of a model's keys: see BlockPool's set_key_offset. `key` [length,
/// kv_heads, head_dim], or with a batch in front, are some hundred keys, not rotated, or the model's key bias as a
/// single one. Their mean where a pair of features stands out: where its norm is more than options.stands_out times
/// what keys typically have, the median over the pairs of the root of their mean squares; elsewhere 0, which costs
/// nothing. Pairs with keys that are not finite have none. Throws std::invalid_argument where shapes do not fit, there
/// is no key, or an option is out of range.
template <class X>
std::vector<float> estimate_key_offset(const RotaryEmbedding& rope, TensorView<X> key,
                                       const KeyOffsetOptions& options = {}) {
  const Extents shape = detail::checked_keys(rope, detail::AnyTensor(key)).shape;
  std::vector<float> offset(static_cast<std::size_t>(detail::checked_product("key", shape[2], shape[3])));
  detail::write_key_offset(rope, detail::AnyTensor(key), detail::decode_function<double, std::remove_const_t<X>>(),
                           options, offset);
  return offset;
}

}  // namespace dca
