// The program's model in memory, behind an interface without Eigen: tests compile in a moment.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tokenizer.hpp"

namespace dca_lm_test {

using dca_lm::Token;

/// As dca_lm::AttentionChoice, and what keys and values are stored as.
struct Choice {
  std::string name = "rope";
  std::ptrdiff_t chunk_size = 0, local_window = 0;
  double rope_scale = 1.0;
  std::ptrdiff_t sinks = 4, window = 0, group = 0;
  std::string kv_type = "float", key_offset = "auto";
};

/// A model, its tokenizer and a pool of threads.
class OpenModel {
 public:
  /// Throws what opening a model file throws.
  explicit OpenModel(const std::string& path, int threads = 1);
  ~OpenModel();

  const dca_lm::Tokenizer& tokenizer() const;

  /// Reads `tokens` in calls of at most `step`; [tokens, vocabulary], row after row.
  std::vector<float> log_probabilities(const Choice& choice, const std::vector<Token>& tokens,
                                       std::ptrdiff_t step) const;
  std::vector<float> log_probabilities(const Choice& choice, const std::vector<Token>& tokens) const {
    return log_probabilities(choice, tokens, static_cast<std::ptrdiff_t>(tokens.size()));
  }

  std::vector<double> negative_log_likelihoods(const Choice& choice, const std::vector<Token>& tokens) const;

  struct Parts;  // in open_model_parts.hpp
  const Parts& parts() const { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
};

}  // namespace dca_lm_test
