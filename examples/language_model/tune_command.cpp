// tune: the chunk_size and local_window of a model.
#include "command.hpp"
#include "error.hpp"
#include "messages.hpp"
#include "perplexity.hpp"
#include "progress.hpp"
#include "tuning.hpp"

namespace dca_lm {
namespace {

struct TuneOptions {
  CommonOptions common;
  std::string text;
  double budget_minutes = 10;
};

/// As many tokens of the text as are read, and one more to predict.
std::vector<Token> tokens_of(TuneOptions& options, const Run& run) {
  const Index window = run.model.config().rope.trained_window;
  Index& count = options.common.tokens;
  if (count == 0) count = window + window / 2;
  if (count <= window) {
    throw Error("--tokens " + std::to_string(count) + "; must be more than the trained window, " +
                std::to_string(window));
  }
  std::vector<Token> tokens = run.encode_file(options.text);
  if (static_cast<Index>(tokens.size()) <= count) {
    throw Error("--tokens " + std::to_string(count) + "; " + printable(options.text) + " has " +
                std::to_string(tokens.size()) + ", and one more is needed to score the last");
  }
  tokens.resize(static_cast<std::size_t>(count) + 1);
  return tokens;
}

TuningResult measure(const TuneOptions& options, const Run& run, std::span<const Token> tokens,
                     const dca::ChunkConfig& sizes) {
  const ModelRope& rope = run.model.config().rope;
  const Attention attention({.name = "dca", .chunk_size = sizes.chunk_size, .local_window = sizes.local_window}, rope);
  Session session(run.model, attention, run.executor, {.tokens = options.common.tokens}, options.common.kv_storage());
  const Progress progress("chunk_size " + std::to_string(sizes.chunk_size) + ", local_window " +
                          std::to_string(sizes.local_window));
  const auto start = std::chrono::steady_clock::now();
  const Index scored = options.common.tokens - rope.trained_window;
  std::vector<double> nll = last_negative_log_likelihoods(session, tokens, scored, std::ref(progress));
  return {sizes, std::move(nll), seconds_since(start)};
}

void print_table(const std::vector<TuningResult>& results, const TuningResult& best, Index tokens) {
  std::printf("\n  %10s %12s %10s %18s %9s\n", "chunk_size", "local_window", "perplexity", "above the best",
              "tokens/s");
  for (const TuningResult& result : results) {
    const Difference more = difference(result, best);
    std::printf("  %10td %12td %10.2f %9.2f +- %.2f %% %9.0f%s\n", result.sizes.chunk_size, result.sizes.local_window,
                result.perplexity(), 100 * more.ratio, 100 * more.error, static_cast<double>(tokens) / result.seconds,
                &result == &best ? "  <" : "");
  }
}

Json as_json(const TuningResult& result, const TuningResult& best, Index tokens) {
  const Difference more = difference(result, best);
  return {{"chunk_size", result.sizes.chunk_size},
          {"local_window", result.sizes.local_window},
          {"perplexity", result.perplexity()},
          {"above_best", more.ratio},
          {"above_best_error", more.error},
          {"seconds", result.seconds},
          {"tokens_per_second", static_cast<double>(tokens) / result.seconds}};
}

int run_tune(TuneOptions& options) {
  const CommonOptions& common = options.common;
  const Run run(common);
  const std::vector<Token> tokens = tokens_of(options, run);
  const Index window = run.model.config().rope.trained_window;
  std::printf("dca, %td tokens, scored beyond the trained window of %td, %d threads, %s, %s cache\n", common.tokens,
              window, common.threads, dca::compiled::kernels_in_use().instruction_set, common.kv_type.c_str());
  const std::vector<TuningResult> results =
      tune(window, 60 * options.budget_minutes,
           [&](const dca::ChunkConfig& sizes) { return measure(options, run, tokens, sizes); });
  const TuningResult& best = best_of(results);
  print_table(results, best, common.tokens);
  const Json config{{"dual_chunk_attention_config",
                     {{"chunk_size", best.sizes.chunk_size},
                      {"local_size", best.sizes.local_window},
                      {"original_max_position_embeddings", window}}}};
  std::printf("\n%s\n", config.dump(2).c_str());

  Json json{{"model", common.model}, {"tokens", common.tokens}, {"trained_window", window}};
  json["kv_type"] = common.kv_type;
  json["key_offset"] = common.key_offset;
  json["threads"] = common.threads;
  json["instruction_set"] = dca::compiled::kernels_in_use().instruction_set;
  json["tried"] = Json::array();
  for (const TuningResult& result : results) json["tried"].push_back(as_json(result, best, common.tokens));
  json.update(config);
  run.write_json(json);
  return 0;
}

}  // namespace

Command add_tune(CLI::App& app) {
  const auto options = std::make_shared<TuneOptions>();
  CLI::App& command = *app.add_subcommand(
      "tune", "find chunk_size and local_window of dca by the perplexity of a text beyond the trained window");
  command.add_option("--text", options->text, "UTF-8 file, read from its first character")
      ->required()
      ->check(regular_file());
  command
      .add_option("--tokens", options->common.tokens,
                  "tokens to read, more than the trained window; default one and a half of it")
      ->check(CLI::Range(Index{1}, most_tokens));
  command.add_option("--budget-minutes", options->budget_minutes, "time for all trials, one at least; default 10")
      ->check(number_in(0, 1e6));
  add_model_options(command, options->common);
  return {&command, [options] { return run_tune(*options); }};
}

}  // namespace dca_lm
