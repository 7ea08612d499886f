// What a result is held against.
#pragma once

#include <functional>

#include "fuzz/operator_case.hpp"
#include "fuzz/stored_rows.hpp"
#include "fuzz/target.hpp"
#include "support/bounds.hpp"
#include "support/reference.hpp"

namespace dca_fuzz {

namespace reference = dca_test::reference;

/// Some heads of one batch entry of an array [batch, length, heads, features].
inline Array slice(const Array& x, Index b, Index first_head, Index heads) {
  Array part({1, x.shape[1], heads, x.shape[3]});
  for (Index l = 0; l < x.shape[1]; ++l) {
    std::copy_n(x.row(b, l, first_head), heads * x.shape[3], part.row(0, l, 0));
  }
  return part;
}

/// Who sees what of a batch entry and kv_head.
using PositionsOf = std::function<reference::PositionMatrix(Index b, Index kv_head)>;

/// The definition's answer, kv_head by kv_head of each batch entry.
inline reference::Result answer(const Case& c, const Numbers& x, Index first_position, const PositionsOf& positions) {
  const Index batch = x.query.shape[0], q_len = x.query.shape[1], heads = x.query.shape[2];
  const Index kv_heads = x.key.shape[2], group = heads / kv_heads, features = x.value.shape[3];
  reference::Result all{Array({batch, q_len, heads, features}), Array({batch, q_len, heads})};
  for (Index b = 0; b < batch; ++b) {
    for (Index h = 0; h < kv_heads; ++h) {
      reference::Options options{.q_offset = first_position,
                                 .softmax_scale = c.softmax_scale.value_or(0.0),
                                 .logit_softcap = c.logit_softcap.value_or(0.0)};
      if (!c.sinks.empty()) {
        const auto first = c.sinks.begin() + h * group;
        options.sinks = std::vector<double>(first, first + group);
      }
      const auto part = reference::attention(slice(x.query, b, h * group, group), slice(x.key, b, h, 1),
                                             slice(x.value, b, h, 1), positions(b, h), c.ropes().reference, options);
      for (Index r = 0; r < q_len; ++r) {
        if (features > 0) std::copy_n(part.out.row(0, r, 0), group * features, all.out.row(b, r, h * group));
        std::copy_n(&part.lse.data[static_cast<std::size_t>(r * group)], group,
                    &all.lse.data[static_cast<std::size_t>((b * q_len + r) * heads + h * group)]);
      }
    }
  }
  return all;
}

/// What rounding explains of a problem's errors; positions are at most so large.
inline dca_test::Magnitudes magnitudes_of(const Case& c, const Numbers& x, double largest_position) {
  Numbers finite = x;
  for (Array* const part : {&finite.query, &finite.key}) {
    for (double& value : part->data) value = std::isfinite(value) ? value : 0.0;
  }
  return {reference::largest_logit(finite.query, finite.key, c.ropes().reference, c.softmax_scale.value_or(0.0)),
          largest_position};
}

/// Results of O from arithmetic in T, against the definition. Values are of the size of value_gain.
template <class T, class O>
void check_result(const std::vector<double>& out, const std::vector<double>& lse, const reference::Result& expected,
                  const dca_test::Magnitudes& magnitudes, double value_gain) {
  const double size = dca_test::largest_finite(expected.out);
  const double out_limit = dca_test::weight_bound<T>(magnitudes) * std::max(size, value_gain) + storage_step<O>(size);
  const double out_error = dca_test::largest_error(out, expected.out);
  require(out_error <= out_limit, "out off by " + std::to_string(out_error) + ", allowed " + std::to_string(out_limit));
  const double lse_limit = dca_test::lse_bound<T>(magnitudes, dca_test::largest_finite(expected.lse));
  const double lse_error = dca_test::largest_error(lse, expected.lse);
  require(lse_error <= lse_limit, "lse off by " + std::to_string(lse_error) + ", allowed " + std::to_string(lse_limit));
}

}  // namespace dca_fuzz
