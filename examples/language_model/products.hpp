// Products of rows with a weight matrix [outputs, inputs], and the norm before them.
#pragma once

#include <cmath>

#include "model.hpp"
#include "tasks.hpp"

namespace dca_lm {

/// RMSNorm of every row. Row by row, so that none is rounded otherwise in other company: over several, Eigen computes
/// some roots in packets and some alone.
inline Matrix normalised(const Eigen::Ref<const Matrix>& x, const Eigen::RowVectorXf& weight, double epsilon) {
  Matrix result(x.rows(), x.cols());
  for (Index row = 0; row < x.rows(); ++row) {
    const float mean_square = x.row(row).squaredNorm() / static_cast<float>(x.cols());
    const float scale = 1.0f / std::sqrt(mean_square + static_cast<float>(epsilon));
    result.row(row) = (x.row(row) * scale).cwiseProduct(weight);
  }
  return result;
}

/// out = x * weights^T for a block of many rows, on this thread.
struct MultiplyMatrices {
  void operator()(const Eigen::Ref<const Matrix>& x, const Eigen::Ref<const Matrix>& weights,
                  Eigen::Ref<Matrix> out) const {
    out.noalias() = x * weights.transpose();
  }
};

/// The same for a few rows, on the threads of the executor: the time goes into reading the weights, so each task reads
/// some of them once and multiplies them with every row. A row's result does not depend on the other rows.
struct MultiplyVectors {
  void operator()(const Eigen::Ref<const Matrix>& x, const Matrix& weights, Eigen::Ref<Matrix> out) const {
    constexpr Index fewest_outputs = 64, most_tasks = 64;
    const Index outputs = weights.rows(), step = std::max(fewest_outputs, (outputs + most_tasks - 1) / most_tasks);
    for_tasks(executor, (outputs + step - 1) / step, [&](Index task) {
      const Index first = task * step, count = std::min(step, outputs - first);
      for (Index row = 0; row < x.rows(); ++row) {
        out.row(row).segment(first, count).transpose().noalias() =
            weights.middleRows(first, count) * x.row(row).transpose();
      }
    });
  }

  const dca::Executor& executor;
};

}  // namespace dca_lm
