// What the commands of dca_lm share.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

#include "session.hpp"

namespace dca_lm {

using Json = nlohmann::ordered_json;

/// A subcommand and what it does: its exit code.
struct Command {
  CLI::App* app;
  std::function<int()> run;
};

Command add_ppl(CLI::App& app);
Command add_passkey(CLI::App& app);
Command add_needle(CLI::App& app);
Command add_tune(CLI::App& app);
Command add_generate(CLI::App& app);
Command add_batch(CLI::App& app);

constexpr Index most_tokens = Index{1} << 24;

struct CommonOptions {
  CommonOptions();

  std::string model, json, kv_type = "float";
  AttentionChoice attention;
  Index tokens = 0;
  int threads;
};

/// Those that do not depend on an attention.
void add_model_options(CLI::App& command, CommonOptions& options);

/// All of them but --tokens.
void add_common_options(CLI::App& command, CommonOptions& options);

/// `tokens_help` says what --tokens counts.
void add_common_options(CLI::App& command, CommonOptions& options, const std::string& tokens_help);

/// The model of a run, on the threads of the run.
struct Run {
  explicit Run(const CommonOptions& options);

  /// The attention that was chosen. Writes into the options what they leave to the model and to the length of the text.
  Attention attention(CommonOptions& options, Index text_tokens) const;

  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;
  GgufFile file;
  Tokenizer tokenizer;
  LlamaModel model;
};

/// The numbers that the chosen attention has.
Json settings_of(const AttentionChoice& choice);

/// The settings of a run, and the bytes of its cache.
Json describe(const CommonOptions& options, const Run& run, Index cache_bytes);

/// The same on one line.
std::string heading(const CommonOptions& options, const Run& run, Index cache_bytes);

/// Does nothing without a path. Throws Error where the file cannot be written.
void write_json(const std::string& path, const Json& json);

/// A text as a JSON string: what is not UTF-8, as a text that ends within a character, is replaced.
std::string quoted(const std::string& text);

/// Throws Error where the file is not there or empty.
std::string read_text(const std::string& path);

std::string mebibytes(Index bytes);

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace dca_lm
