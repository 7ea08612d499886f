// How far a result may be from the exact one, and why.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/array.hpp"

namespace dca_test {

/// What the rounding errors of a problem grow with.
struct Magnitudes {
  double largest_logit = 0.0;     // |softmax_scale * <q, k>| by norms, before a soft-cap
  double largest_angle = 0.0;     // largest rotary position times largest inverse frequency that is not 1, in radians
  double alike_features = 0.0;    // head_dim where a logit's products all have one sign, else 0
  double integer_features = 0.0;  // head_dim where queries meet keys of 8 or 4 bits, as 16-bit integers, else 0
};

/// Error of a softmax weight, relative, that rounding explains. With u the unit roundoff of T and u64 that of double:
///
///   base            2e-5 (float), 1e-12 (double): sums over keys and features of ordinary inputs;
///   10 u M          a logit is a sum of head_dim products, known to about 5 u M where M bounds its terms' norm
///                   (|q| |k| softmax_scale), and an error e of the logits moves weights by up to 2 e;
///   u M D more      where all D products have one sign: sums then grow from product to product, to M at last, and each
///                   addition may round the same way, by up to u times the sum so far: u M D / 2 in a logit;
///   sqrt(D) M / 32767   where queries are rounded to 16 bits, each feature by up to the largest / 65534: by norms a
///                   logit is off by sqrt(D) |k| |q| / 65534;
///   2 u64 A M       frequencies that differ by a unit in the last place turn angles of up to A by 2 u64 A.
///
/// The largest counts. A bound of 1 or more says that T cannot tell the keys apart.
template <class T>
double weight_bound(const Magnitudes& magnitudes) {
  constexpr double base = sizeof(T) == sizeof(float) ? 2e-5 : 1e-12;
  constexpr double unit_roundoff = static_cast<double>(std::numeric_limits<T>::epsilon()) / 2;
  constexpr double double_roundoff = std::numeric_limits<double>::epsilon() / 2;
  return std::max({base, (10 + magnitudes.alike_features) * unit_roundoff * magnitudes.largest_logit,
                   std::sqrt(magnitudes.integer_features) * magnitudes.largest_logit / 32767,
                   2 * double_roundoff * magnitudes.largest_angle * magnitudes.largest_logit});
}

/// What storing keys and values in few bits changes: at most this much in a logit and in a value.
struct StorageError {
  double logit = 0.0;
  double value = 0.0;
  double largest_value = 0.0;
};

/// Absolute error allowed in `out`: the error of the weights, times the outputs' size where that exceeds 1. Logits off
/// by up to e move all weights together by at most a factor of exp(2 e).
template <class T>
double out_bound(const Magnitudes& magnitudes, double largest_out, const StorageError& storage = {}) {
  return weight_bound<T>(magnitudes) * std::max(1.0, largest_out) +
         std::expm1(2 * storage.logit) * storage.largest_value + storage.value;
}

/// Absolute error allowed in `lse`: that of the logits, and the rounding of a number as large as lse.
template <class T>
double lse_bound(const Magnitudes& magnitudes, double largest_lse, const StorageError& storage = {}) {
  return std::max(weight_bound<T>({}) * std::max(1.0, largest_lse), weight_bound<T>(magnitudes)) + storage.logit;
}

/// Largest absolute value; infinities and NaN do not count.
inline double largest_finite(const Array& x) {
  double largest = 0.0;
  for (const double value : x.data) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  return largest;
}

/// Largest |actual - expected|. Infinite where one of two is not finite and they are not the same infinity or both NaN,
/// or where sizes differ.
template <class Actual>
double largest_error(const Actual& actual, const Array& expected) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (actual.size() != expected.data.size()) return infinity;
  double largest = 0.0;
  for (std::size_t k = 0; k < expected.data.size(); ++k) {
    const auto a = static_cast<double>(actual[k]);
    const double b = expected.data[k];
    if (std::isfinite(a) && std::isfinite(b)) {
      largest = std::max(largest, std::abs(a - b));
    } else if (a != b && !(std::isnan(a) && std::isnan(b))) {
      return infinity;
    }
  }
  return largest;
}

}  // namespace dca_test
