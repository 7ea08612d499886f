// What the commands of dca_lm share.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "program/result_file.hpp"
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
constexpr int most_threads = 1024;

/// For options: a finite number in [least, most]. CLI::Range lets NaN through, which is neither less nor more.
CLI::Validator number_in(double least, double most);

/// For options: a number in (least, most].
CLI::Validator number_above(double least, double most);

/// For options: a regular file. Others, as a pipe, might keep the program waiting for ever, or cannot be mapped.
CLI::Validator regular_file();

struct CommonOptions {
  CommonOptions();

  KvStorage kv_storage() const { return {kv_type_of(kv_type), key_offset_of(key_offset)}; }

  std::string model, json, kv_type = "float", key_offset = "auto";
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
  /// Throws Error, and std::runtime_error where --json cannot be written, before the model is read.
  explicit Run(const CommonOptions& options);

  /// The attention that was chosen. Writes into the options what they leave to the model and to the length of the text.
  Attention attention(CommonOptions& options, Index text_tokens) const;

  /// Writes the results into the file of --json, where there is one. What is no UTF-8, as a file's name, is replaced.
  void write_json(const Json& json) const;

  /// The tokens of a text file, after the token that begins a text where the model has one, or without it. Errors name
  /// the file.
  enum class Beginning { of_text, none };
  std::vector<Token> encode_file(const std::string& path, Beginning beginning = Beginning::of_text) const;

  program::ResultFile results;
  std::string path;  // of the model
  dca::compiled::Threads threads;
  dca::Executor executor;
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

/// Throws Error where the file is not there or empty.
std::string read_text(const std::string& path);

std::string mebibytes(Index bytes);

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace dca_lm
