// The summary of a block of keys: mean, least and largest of each feature.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "dca/tensor/index.hpp"

namespace dca::detail {

/// One summary, [3][features]: mean, least, largest. Made by adding rows or other summaries. NaN in a key makes mean
/// and largest NaN.
template <class T>
class KeySummary {
 public:
  static constexpr Index size(Index features) { return 3 * features; }

  KeySummary(T* memory, Index features)
      : mean_(memory), least_(memory + features), largest_(memory + 2 * features), features_(features) {}

  void clear() {
    std::fill_n(mean_, features_, T{0});
    std::fill_n(least_, features_, std::numeric_limits<T>::infinity());
    std::fill_n(largest_, features_, -std::numeric_limits<T>::infinity());
  }

  /// Adds a key; mean holds the sum until `finish`.
  void add(const T* __restrict row) {
    for (Index d = 0; d < features_; ++d) {
      mean_[d] += row[d];
      least_[d] = std::min(least_[d], row[d]);
      largest_[d] = std::max(largest_[d], row[d]);
    }
  }

  /// Adds the summary of `count` keys.
  template <class S>
  void add(const S* summary, Index count) {
    for (Index d = 0; d < features_; ++d) {
      mean_[d] += static_cast<T>(summary[d]) * static_cast<T>(count);
      least_[d] = std::min(least_[d], static_cast<T>(summary[features_ + d]));
      largest_[d] = std::max(largest_[d], static_cast<T>(summary[2 * features_ + d]));
    }
  }

  void finish(Index count) {
    const T share = T{1} / static_cast<T>(count);
    for (Index d = 0; d < features_; ++d) {
      mean_[d] *= share;
      if (std::isnan(mean_[d])) largest_[d] = mean_[d];  // std::min and std::max drop NaN
    }
  }

 private:
  T *mean_, *least_, *largest_;
  Index features_;
};

}  // namespace dca::detail
