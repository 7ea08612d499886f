// The summary of a block of keys: mean, least and largest of each feature. By this file's instruction set, or by the
// compiled kernels'.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "dca/instruction_set/kernel_table.hpp"

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
#if defined(DCA_COMPILED_KERNELS)
    kernels_of<T>().summary.add_key(row, features_, mean_);
#else
    for (Index d = 0; d < features_; ++d) {
      mean_[d] += row[d];
      least_[d] = std::min(least_[d], row[d]);
      largest_[d] = std::max(largest_[d], row[d]);
    }
#endif
  }

  /// Adds the summary of `count` keys, in float or double.
  template <class S>
  void add(const S* summary, Index count) {
#if defined(DCA_COMPILED_KERNELS)
    if constexpr (std::is_same_v<S, float>) {
      kernels_of<T>().summary.add_floats(summary, count, features_, mean_);
    } else {
      kernels_of<T>().summary.add_doubles(summary, count, features_, mean_);
    }
#else
    for (Index d = 0; d < features_; ++d) {
      mean_[d] += static_cast<T>(summary[d]) * static_cast<T>(count);
      least_[d] = std::min(least_[d], static_cast<T>(summary[features_ + d]));
      largest_[d] = std::max(largest_[d], static_cast<T>(summary[2 * features_ + d]));
    }
#endif
  }

  void finish(Index count) {
#if defined(DCA_COMPILED_KERNELS)
    kernels_of<T>().summary.finish(count, features_, mean_);
#else
    const T share = T{1} / static_cast<T>(count);
    for (Index d = 0; d < features_; ++d) {
      mean_[d] *= share;
      if (std::isnan(mean_[d])) largest_[d] = mean_[d];  // std::min and std::max drop NaN
    }
#endif
  }

 private:
  T *mean_, *least_, *largest_;
  Index features_;
};

}  // namespace dca::detail
