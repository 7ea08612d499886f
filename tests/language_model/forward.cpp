#include "forward.hpp"

#include <algorithm>
#include <cmath>

namespace dca_lm_test {
namespace {

using Numbers = std::vector<double>;
using Rows = std::vector<Numbers>;

/// weights[outputs, inputs] times each row.
Rows product(const Rows& rows, const Numbers& weights) {
  Rows results;
  for (const Numbers& x : rows) {
    Numbers result(weights.size() / x.size(), 0.0);
    for (std::size_t k = 0; k < weights.size(); ++k) result[k / x.size()] += weights[k] * x[k % x.size()];
    results.push_back(result);
  }
  return results;
}

/// RMSNorm; epsilon is the float of the file.
Rows normalised(const Rows& rows, const Numbers& weights) {
  Rows results = rows;
  for (Numbers& x : results) {
    double squares = 0;
    for (const double element : x) squares += element * element;
    const double root = std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(1e-2f));
    for (std::size_t k = 0; k < x.size(); ++k) x[k] *= weights[k] / root;
  }
  return results;
}

void add(Rows& rows, const Rows& others) {
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t k = 0; k < rows[r].size(); ++k) rows[r][k] += others[r][k];
  }
}

dca_test::Array heads_of(const Rows& rows, std::int64_t head_dim) {
  const auto width = static_cast<std::int64_t>(rows.front().size());
  dca_test::Array array({1, static_cast<std::int64_t>(rows.size()), width / head_dim, head_dim});
  auto to = array.data.begin();
  for (const Numbers& x : rows) to = std::copy(x.begin(), x.end(), to);
  return array;
}

Rows rows_of(const dca_test::Array& array, std::size_t width) {
  Rows rows;
  for (auto from = array.data.begin(); from != array.data.end(); from += static_cast<std::ptrdiff_t>(width)) {
    rows.emplace_back(from, from + static_cast<std::ptrdiff_t>(width));
  }
  return rows;
}

Rows feed_forward(const Rows& x, const Numbers& gate_weights, const Numbers& up_weights, const Numbers& down_weights) {
  Rows gate = product(x, gate_weights);
  const Rows up = product(x, up_weights);
  for (std::size_t r = 0; r < gate.size(); ++r) {
    for (std::size_t k = 0; k < gate[r].size(); ++k) gate[r][k] *= up[r][k] / (1 + std::exp(-gate[r][k]));
  }
  return product(gate, down_weights);
}

/// Logits to natural logs of probabilities, in place.
void take_log_softmax(Numbers& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  for (double& logit : logits) logit -= largest + std::log(sum);
}

}  // namespace

dca_test::Array log_probabilities_by_definition(GgufContents& model, const TinySizes& sizes,
                                                const std::vector<std::int32_t>& tokens,
                                                const AttentionByDefinition& attention) {
  const auto weights = [&](const std::string& name) { return decoded(model.tensor(name).data); };
  const auto width = static_cast<std::size_t>(sizes.width);
  const Numbers embedding = weights("token_embd.weight");
  Rows states;
  for (const std::int32_t token : tokens) {
    const auto from = embedding.begin() + token * sizes.width;
    states.emplace_back(from, from + sizes.width);
  }
  for (std::int64_t k = 0; k < sizes.layers; ++k) {
    const auto layer = [&](const char* part) { return weights("blk." + std::to_string(k) + "." + part + ".weight"); };
    Rows x = normalised(states, layer("attn_norm"));
    const auto projected = [&](const char* part) { return heads_of(product(x, layer(part)), sizes.head_dim()); };
    const auto attended = dca_test::reference::attention(projected("attn_q"), projected("attn_k"), projected("attn_v"),
                                                         attention.positions, attention.rope);
    add(states, product(rows_of(attended.out, width), layer("attn_output")));
    x = normalised(states, layer("ffn_norm"));
    add(states, feed_forward(x, layer("ffn_gate"), layer("ffn_up"), layer("ffn_down")));
  }
  Rows logits =
      product(normalised(states, weights("output_norm.weight")), sizes.own_head ? weights("output.weight") : embedding);
  dca_test::Array result;
  result.shape = {static_cast<std::int64_t>(tokens.size()), tiny_vocabulary()};
  for (Numbers& row : logits) {
    take_log_softmax(row);
    result.data.insert(result.data.end(), row.begin(), row.end());
  }
  return result;
}

}  // namespace dca_lm_test
