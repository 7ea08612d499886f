// Golden cases: a folder with cases.csv and, per case, a folder of .npy files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/array.hpp"
#include "support/bounds.hpp"
#include "support/reference.hpp"

namespace dca_test {

/// One row of cases.csv. softmax_scale 0 stands for 1 / sqrt(head_dim), logit_softcap 0 for none; position_scale divides
/// every position; attention_factor multiplies the rotated features of queries and keys.
struct GoldenParameters {
  std::string name;
  std::int64_t batch = 0, q_len = 0, kv_len = 0, heads = 0, kv_heads = 0, head_dim = 0, v_head_dim = 0;
  std::int64_t chunk_size = 0, local_window = 0, q_offset = 0, rotary_dim = 0, sinks = 0, seed = 0;
  double rope_theta = 0, position_scale = 0, attention_factor = 0, softmax_scale = 0, logit_softcap = 0;
  double input_gain = 0;
  bool interleaved = false;
};

/// Inputs and expected outputs, [batch, length, heads, features]; lse [batch, q_len, heads]; sinks [heads] or no data.
struct GoldenCase {
  GoldenParameters parameters;
  Array query, key, value, out, lse, sinks;

  reference::Rope rope() const;
  Magnitudes magnitudes() const;
};

/// Reads folder/cases.csv. Throws std::runtime_error, with the line, for a column that is unknown, missing or given
/// twice, a row of another length, and a field that is no number of its kind.
std::vector<GoldenParameters> read_golden_table(const std::string& folder);

/// Reads the arrays of one case. Throws std::runtime_error where one is missing, malformed or of another shape than the
/// parameters say.
GoldenCase read_golden_case(const std::string& folder, const GoldenParameters& parameters);

}  // namespace dca_test
