// A Llama model: its weights, and what its last states say.
#pragma once

#include <Eigen/Core>
#include <functional>
#include <span>

#include "attention.hpp"
#include "error.hpp"
#include "gguf.hpp"
#include "tokenizer.hpp"

namespace dca_lm {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Called with the share of the work that is done, in [0, 1].
using ProgressCallback = std::function<void(double)>;

/// What a row of hidden states belongs to, for messages: "position 17".
using NameRow = std::function<std::string(Index row)>;

/// Rows of one text, the first of them at position `first`.
NameRow positions_from(Index first);

/// The error for logits that are not finite, after a row of this name.
Error not_finite(const std::string& row);

/// Sizes and constants from the file's `llama.*` keys.
struct LlamaConfig {
  Index layers, width, heads, kv_heads, head_dim, hidden, vocabulary;
  double norm_epsilon;
  ModelRope rope;
};

/// Weights as float matrices [outputs, inputs], dequantised once.
class LlamaModel {
 public:
  /// Throws Error where the file is not a Llama model with all its tensors in the right shapes, or has keys or tensors
  /// that would change results and are not supported.
  LlamaModel(const GgufFile& file, const dca::Executor& executor);

  const LlamaConfig& config() const { return config_; }

  /// Natural log of the probability of each token of the vocabulary after each row of hidden states: [rows,
  /// vocabulary]. Throws Error where logits are not finite.
  Matrix log_probabilities(const Eigen::Ref<const Matrix>& hidden, const NameRow& name) const;

  /// nll[r] = minus what log_probabilities says of targets[r] after row r, without room for all of that: the vocabulary
  /// is taken `block` tokens at a time, which stay in a cache. As many targets, tokens of the vocabulary, as rows. NaN
  /// where logits are not finite: whoever has rows scored side by side names the first of them.
  void negative_log_likelihoods(const Eigen::Ref<const Matrix>& hidden, std::span<const Token> targets,
                                std::span<double> nll, Index block = 2048) const;

  /// Logits after a few hidden states, on the threads of the executor: [rows, vocabulary]. Throws Error where they are
  /// not finite.
  Matrix logits(const dca::Executor& executor, const Eigen::Ref<const Matrix>& hidden, const NameRow& name) const;

 private:
  friend class Session;

  struct Layer {
    Eigen::RowVectorXf attention_norm, feed_forward_norm;
    Matrix query, key, value, output, gate, up, down;
  };

  /// States as `log_probabilities` takes them.
  Matrix normalised_for_output(const Eigen::Ref<const Matrix>& states) const;
  const Matrix& head() const { return head_.size() != 0 ? head_ : embedding_; }

  Matrix embedding_, head_;  // head_ is empty where the embedding serves as the output, too
  Eigen::RowVectorXf output_norm_;
  std::vector<Layer> layers_;
  LlamaConfig config_;
};

}  // namespace dca_lm
