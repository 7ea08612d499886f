#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dequantize.hpp"
#include "error.hpp"
#include "file_roles.hpp"
#include "messages.hpp"
#include "products.hpp"

namespace dca_lm {
namespace {

constexpr Index rows_per_task = 128;

/// body(first, last) over [0, rows) in pieces of rows_per_task, on the threads of the executor.
template <class Body>
void for_row_blocks(const dca::Executor& executor, Index rows, const Body& body) {
  const Index blocks = (rows + rows_per_task - 1) / rows_per_task;
  for_tasks(executor, blocks,
            [&](Index block) { body(block * rows_per_task, std::min(rows, (block + 1) * rows_per_task)); });
}

/// A tensor of that name and shape, fastest index first. Throws Error.
const GgufTensor& find(const GgufFile& file, const std::string& name, const std::vector<std::uint64_t>& shape) {
  const GgufTensor* const tensor = file.find_tensor(name);
  if (tensor == nullptr) throw Error("GGUF: tensor " + name + " is missing");
  if (tensor->shape != shape) {
    std::string given, wanted;
    for (const std::uint64_t size : tensor->shape) given += " " + std::to_string(size);
    for (const std::uint64_t size : shape) wanted += " " + std::to_string(size);
    throw Error("GGUF: tensor " + name + " has shape" + given + "; must be" + wanted);
  }
  return *tensor;
}

Matrix load_matrix(const GgufFile& file, const dca::Executor& executor, const std::string& name, Index outputs,
                   Index inputs) {
  const GgufTensor& tensor =
      find(file, name, {static_cast<std::uint64_t>(inputs), static_cast<std::uint64_t>(outputs)});
  Matrix weights(outputs, inputs);
  for_row_blocks(executor, outputs, [&](Index first, Index last) {
    dequantize_rows(tensor, static_cast<std::uint64_t>(first),
                    {weights.data() + first * inputs, static_cast<std::size_t>((last - first) * inputs)});
  });
  return weights;
}

Eigen::RowVectorXf load_vector(const GgufFile& file, const std::string& name, Index size) {
  Eigen::RowVectorXf weights(size);
  dequantize_rows(find(file, name, {static_cast<std::uint64_t>(size)}), 0,
                  {weights.data(), static_cast<std::size_t>(size)});
  return weights;
}

Index size_of(const GgufFile& file, const std::string& key, std::uint64_t high) {
  return static_cast<Index>(file.integer(key, 1, high));
}

LlamaConfig read_config(const GgufFile& file) {
  const std::string_view architecture = file.string("general.architecture");
  if (architecture != "llama") throw Error("architecture " + printable(architecture) + "; only llama is supported");
  LlamaConfig config{};
  config.layers = size_of(file, "llama.block_count", 1024);
  config.width = size_of(file, "llama.embedding_length", 1 << 17);
  config.heads = size_of(file, "llama.attention.head_count", 1 << 12);
  config.kv_heads = config.heads;
  if (file.find("llama.attention.head_count_kv") != nullptr)
    config.kv_heads = size_of(file, "llama.attention.head_count_kv", 1 << 12);
  config.hidden = size_of(file, "llama.feed_forward_length", 1 << 20);
  config.vocabulary = static_cast<Index>(file.strings("tokenizer.ggml.tokens").size());
  if (config.heads % config.kv_heads != 0 || config.width % config.heads != 0) {
    throw Error("GGUF: " + std::to_string(config.heads) + " heads, " + std::to_string(config.kv_heads) +
                " kv heads and width " + std::to_string(config.width) + " do not divide each other");
  }
  config.head_dim = config.width / config.heads;
  for (const char* key : {"llama.attention.key_length", "llama.attention.value_length"}) {
    if (file.find(key) != nullptr && size_of(file, key, 1 << 17) != config.head_dim) {
      throw Error(std::string("GGUF: ") + key + " is not embedding_length / head_count, which is not supported");
    }
  }
  config.norm_epsilon = file.number("llama.attention.layer_norm_rms_epsilon");
  if (!(config.norm_epsilon >= 0)) throw Error("GGUF: llama.attention.layer_norm_rms_epsilon is negative");
  config.rope.rotary_dim = config.head_dim;
  if (file.find("llama.rope.dimension_count") != nullptr) {
    config.rope.rotary_dim = size_of(file, "llama.rope.dimension_count", static_cast<std::uint64_t>(config.head_dim));
  }
  if (config.rope.rotary_dim % 2 != 0) throw Error("GGUF: llama.rope.dimension_count is odd");
  config.rope.theta = (file.find("llama.rope.freq_base") != nullptr) ? file.number("llama.rope.freq_base") : 10000.0;
  if (!(config.rope.theta > 1)) throw Error("GGUF: llama.rope.freq_base must be greater than 1");
  config.rope.trained_window = static_cast<Index>(file.integer("llama.context_length", 8, std::uint64_t{1} << 32));
  if ((file.find("llama.rope.scaling.type") != nullptr) && file.string("llama.rope.scaling.type") != "none") {
    throw Error("GGUF: llama.rope.scaling.type " + printable(file.string("llama.rope.scaling.type")) +
                " is not supported: choose the scaling with --attention");
  }
  if (file.find_tensor("rope_freqs.weight") != nullptr) {
    const Eigen::RowVectorXf divisors = load_vector(file, "rope_freqs.weight", config.rope.rotary_dim / 2);
    for (const float divisor : divisors) {
      if (!(divisor > 0)) throw Error("GGUF: rope_freqs.weight has a value that is not positive");
      config.rope.frequency_divisors.push_back(static_cast<double>(divisor));
    }
  }
  return config;
}

/// x * 0 is 0 only for finite x; a sum vectorises.
bool all_finite(const Eigen::Ref<const Eigen::RowVectorXf>& logits) { return (logits.array() * 0.0f).sum() == 0.0f; }

void check_finite(const Matrix& logits, const NameRow& name) {
  for (Index r = 0; r < logits.rows(); ++r) {
    if (!all_finite(logits.row(r))) throw not_finite(name(r));
  }
}

}  // namespace

NameRow positions_from(Index first) {
  return [first](Index row) { return "position " + std::to_string(first + row); };
}

Error not_finite(const std::string& row) {
  return Error("the logits at " + row + "; must be finite: the model's weights hold NaN or infinity, or overflow");
}

LlamaModel::LlamaModel(const GgufFile& file, const dca::Executor& executor) : config_(read_config(file)) {
  const LlamaConfig& c = config_;
  check_roles(file, static_cast<std::uint64_t>(c.layers));
  embedding_ = load_matrix(file, executor, "token_embd.weight", c.vocabulary, c.width);
  if (file.find_tensor("output.weight") != nullptr)
    head_ = load_matrix(file, executor, "output.weight", c.vocabulary, c.width);
  output_norm_ = load_vector(file, "output_norm.weight", c.width);
  const Index kv_width = c.kv_heads * c.head_dim;
  for (Index k = 0; k < c.layers; ++k) {
    const std::string name = "blk." + std::to_string(k) + ".";
    const auto matrix = [&](const char* part, Index outputs, Index inputs) {
      return load_matrix(file, executor, name + part + ".weight", outputs, inputs);
    };
    layers_.push_back({load_vector(file, name + "attn_norm.weight", c.width),
                       load_vector(file, name + "ffn_norm.weight", c.width), matrix("attn_q", c.width, c.width),
                       matrix("attn_k", kv_width, c.width), matrix("attn_v", kv_width, c.width),
                       matrix("attn_output", c.width, c.width), matrix("ffn_gate", c.hidden, c.width),
                       matrix("ffn_up", c.hidden, c.width), matrix("ffn_down", c.width, c.hidden)});
  }
}

Matrix LlamaModel::log_probabilities(const Eigen::Ref<const Matrix>& hidden, const NameRow& name) const {
  Matrix logits(hidden.rows(), config_.vocabulary);
  MultiplyMatrices{}(hidden, head(), logits);
  check_finite(logits, name);
  for (Index r = 0; r < logits.rows(); ++r) {
    const float max = logits.row(r).maxCoeff();
    const double sum = (logits.row(r).array() - max).exp().cast<double>().sum();
    logits.row(r).array() -= max + static_cast<float>(std::log(sum));
  }
  return logits;
}

void LlamaModel::negative_log_likelihoods(const Eigen::Ref<const Matrix>& hidden, std::span<const Token> targets,
                                          std::span<double> nll, Index block) const {
  const Index rows = hidden.rows();
  Eigen::ArrayXf max = Eigen::ArrayXf::Constant(rows, -std::numeric_limits<float>::infinity());
  Eigen::ArrayXf of_target = max;
  Eigen::ArrayXd sum = Eigen::ArrayXd::Zero(rows);  // of exp(logit - max)
  Matrix logits;
  for (Index first = 0; first < config_.vocabulary; first += block) {
    const Index count = std::min(block, config_.vocabulary - first);
    logits.resize(rows, count);
    MultiplyMatrices{}(hidden, head().middleRows(first, count), logits);
    for (Index r = 0; r < rows; ++r) {
      if (!all_finite(logits.row(r))) sum[r] = std::numeric_limits<double>::quiet_NaN();
      const float before = max[r];
      max[r] = std::max(before, logits.row(r).maxCoeff());
      sum[r] = sum[r] * static_cast<double>(std::exp(before - max[r])) +
               static_cast<double>((logits.row(r).array() - max[r]).exp().sum());
      const Index target = targets[static_cast<std::size_t>(r)] - first;
      if (target >= 0 && target < count) of_target[r] = logits(r, target);
    }
  }
  for (Index r = 0; r < rows; ++r) {
    nll[static_cast<std::size_t>(r)] =
        std::log(sum[r]) + (static_cast<double>(max[r]) - static_cast<double>(of_target[r]));
  }
}

Matrix LlamaModel::logits(const dca::Executor& executor, const Eigen::Ref<const Matrix>& hidden,
                          const NameRow& name) const {
  Matrix logits(hidden.rows(), config_.vocabulary);
  MultiplyVectors{executor}(hidden, head(), logits);
  check_finite(logits, name);
  return logits;
}

Matrix LlamaModel::normalised_for_output(const Eigen::Ref<const Matrix>& states) const {
  return normalised(states, output_norm_, config_.norm_epsilon);
}

}  // namespace dca_lm
