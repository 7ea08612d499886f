// The ways to compute a golden case.
#pragma once

#include <string>
#include <vector>

#include "golden_runner/golden_case.hpp"
#include "support/operands.hpp"

namespace dca_test {

/// A golden case in the scalar that it is computed with, and the operator's settings.
template <class T>
struct GoldenProblem {
  GoldenParameters parameters;
  std::vector<T> query, key, value, sinks;

  explicit GoldenProblem(const GoldenCase& golden);

  dca::ChunkConfig chunks() const;
  dca::RotaryEmbedding rope() const;

  /// The operator of the case: DualChunkAttention or one of its functors.
  template <class Attention>
  Attention make() const {
    dca::AttentionConfig<dca::ChunkLayout> config{.chunks = chunks(), .rope = rope()};
    if (parameters.softmax_scale != 0) config.softmax_scale = parameters.softmax_scale;
    if (parameters.logit_softcap != 0) config.logit_softcap = parameters.logit_softcap;
    return Attention(config);
  }

  dca::Extents query_shape() const;
  dca::Extents key_shape() const;
  dca::Extents value_shape() const;
  dca::Extents out_shape() const;
  dca::Extents lse_shape() const;
  Operands<T> operands() const;
};

/// out [batch, q_len, heads, v_head_dim] and lse [batch, q_len, heads], dense.
template <class T>
struct GoldenOutputs {
  std::vector<T> out, lse;
  std::string variant;  // which of a path's variants, empty where it has one

  explicit GoldenOutputs(const GoldenProblem<T>& problem, std::string name = "");
};

/// Each path returns the outputs of its variants, at least one. `operator`: one call of DualChunkAttention on dense
/// views; the settings that later paths share.
template <class T>
std::vector<GoldenOutputs<T>> operator_path(const GoldenProblem<T>& problem);

/// The three functors, each with out and lse, then merge, where the sinks enter.
template <class T>
std::vector<GoldenOutputs<T>> functors_path(const GoldenProblem<T>& problem);

/// The queries in pieces cut at odd places, each called with its own q_offset; and one row at a time at the end.
template <class T>
std::vector<GoldenOutputs<T>> split_path(const GoldenProblem<T>& problem);

/// Eigen tensors, row-major and column-major, [batch, length, heads, dim] and [batch, heads, length, dim], of rank 4
/// and, for a batch of one, of rank 3; and a view with gaps between its rows.
template <class T>
std::vector<GoldenOutputs<T>> layouts_path(const GoldenProblem<T>& problem);

/// Thread pools of 1, 2, 3 and 8 threads. Throws std::runtime_error where bits differ from operator_path's.
template <class T>
std::vector<GoldenOutputs<T>> threads_path(const GoldenProblem<T>& problem);

}  // namespace dca_test
