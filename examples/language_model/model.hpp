// A Llama model: its weights, and a session that reads tokens.
#pragma once

#include <functional>
#include <span>

#include "attention.hpp"
#include "gguf.hpp"
#include "tokenizer.hpp"

namespace dca_lm {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Eigen::Index;

/// Called with the share of the work that is done, in [0, 1].
using ProgressCallback = std::function<void(double)>;

/// Sizes and constants from the file's `llama.*` keys.
struct LlamaConfig {
  Index layers, width, heads, kv_heads, head_dim, hidden, vocabulary;
  double norm_epsilon;
  ModelRope rope;
};

/// Weights as float matrices [outputs, inputs], dequantised once.
class LlamaModel {
 public:
  /// Throws Error where the file is not a Llama model with all its tensors in the right shapes.
  LlamaModel(const GgufFile& file, const Eigen::ThreadPoolDevice& device);

  const LlamaConfig& config() const { return config_; }

  /// Natural log of the probability of each token of the vocabulary after each row of hidden states: [rows,
  /// vocabulary].
  Matrix log_probabilities(const Eigen::Ref<const Matrix>& hidden) const;

 private:
  friend class Session;

  struct Layer {
    Eigen::RowVectorXf attention_norm, feed_forward_norm;
    Matrix query, key, value, output, gate, up, down;
  };

  Matrix embedding_, head_;  // head_ is empty where the embedding serves as the output, too
  Eigen::RowVectorXf output_norm_;
  std::vector<Layer> layers_;
  LlamaConfig config_;
};

/// A text being read. Keys are kept unrotated: the operator places them anew in each call, so one cache serves every
/// attention.
class Session {
 public:
  /// Room for `capacity` tokens. Throws std::bad_alloc.
  Session(const LlamaModel& model, const Attention& attention, const Eigen::ThreadPoolDevice& device, Index capacity);

  Index length() const { return length_; }

  /// Forgets all tokens from position `length` on.
  void truncate(Index length) { length_ = std::min(length, length_); }

  /// Reads tokens at positions length(), length() + 1, ... and returns the last `wanted` hidden states, normalised for
  /// the output: [wanted, width]. Throws Error where they do not fit the capacity or a token is not in the vocabulary.
  Matrix read(std::span<const Token> tokens, Index wanted, const ProgressCallback& progress = nullptr);

 private:
  void run_layer(const LlamaModel::Layer& layer, Matrix& keys, Matrix& values, Matrix& states);

  const LlamaModel& model_;
  const Attention& attention_;
  const Eigen::ThreadPoolDevice& device_;
  std::vector<Matrix> keys_, values_;  // per layer [capacity, kv_heads * head_dim]
  Matrix queries_, attended_;
  Index length_ = 0;
};

}  // namespace dca_lm
