// ppl and passkey: what a model makes of a long text.
#include <cmath>
#include <numeric>

#include "command.hpp"
#include "error.hpp"
#include "passkey.hpp"
#include "perplexity.hpp"
#include "progress.hpp"

namespace dca_lm {
namespace {

struct PplOptions {
  CommonOptions common;
  std::string text;
  Index bucket = 2048, context = 0;
  bool nll = false;
};

struct PasskeyCommandOptions {
  CommonOptions common;
  Index trials = 3;
  std::uint32_t seed = 1;
};

void check_context(const PplOptions& options) {
  if (options.context == 0) return;
  if (options.common.attention.name != "rope") {
    throw Error("--context " + std::to_string(options.context) + "; is for --attention rope, the control");
  }
  if (options.context < options.bucket) {
    throw Error("--context " + std::to_string(options.context) + "; must be at least --bucket, " +
                std::to_string(options.bucket));
  }
}

int run_ppl(PplOptions& options) {
  CommonOptions& common = options.common;
  check_context(options);
  const Run run(common);
  const Attention attention = run.attention(common, common.tokens);
  std::vector<Token> tokens = run.tokenizer.encode(read_text(options.text));
  if (static_cast<Index>(tokens.size()) <= common.tokens) {
    throw Error("--tokens " + std::to_string(common.tokens) + "; " + options.text + " has " +
                std::to_string(tokens.size()) + ", and one more is needed to score the last");
  }
  tokens.resize(static_cast<std::size_t>(common.tokens) + 1);
  const Index room = options.context == 0 ? common.tokens : std::min(options.context, common.tokens);
  Session session(run.model, attention, run.device, {.tokens = room}, kv_type_of(common.kv_type));
  const auto start = std::chrono::steady_clock::now();
  const std::vector<double> nll = [&] {
    const Progress progress("perplexity");
    const SlidingContext context{options.context, options.bucket};
    if (options.context > 0) return negative_log_likelihoods(session, tokens, context, std::ref(progress));
    return negative_log_likelihoods(session, tokens, std::ref(progress));
  }();
  const double seconds = seconds_since(start);
  const double mean = std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(nll.size());

  Json json = describe(common, run, session.cache_bytes());
  if (options.context > 0) json["context"] = options.context;
  json["perplexity"] = std::exp(mean);
  json["buckets"] = Json::array();
  std::printf("%s\n\n  %10s %10s %12s\n", heading(common, run, session.cache_bytes()).c_str(), "from", "to",
              "perplexity");
  for (const PerplexityBucket& bucket : perplexity_buckets(nll, options.bucket)) {
    std::printf("  %10td %10td %12.2f\n", bucket.from, bucket.to, bucket.perplexity);
    json["buckets"].push_back({{"from", bucket.from}, {"to", bucket.to}, {"perplexity", bucket.perplexity}});
  }
  std::printf("  %21s %12.2f   in %.1f s\n", "all", std::exp(mean), seconds);
  if (options.nll) json["nll"] = nll;
  json["seconds"] = seconds;
  write_json(common.json, json);
  return 0;
}

int run_passkey(PasskeyCommandOptions& options) {
  CommonOptions& common = options.common;
  const Run run(common);
  const Attention attention = run.attention(common, common.tokens);
  Session session(run.model, attention, run.device, {.tokens = common.tokens + passkey_answer_tokens},
                  kv_type_of(common.kv_type));
  const auto start = std::chrono::steady_clock::now();
  const std::vector<PasskeyTrial> trials = [&] {
    const Progress progress("passkey");
    return passkey_trials(session, run.tokenizer, {common.tokens, options.trials, options.seed}, std::ref(progress));
  }();
  const double seconds = seconds_since(start);

  Json json = describe(common, run, session.cache_bytes());
  json["seed"] = options.seed;
  json["trials"] = Json::array();
  Index correct = 0;
  std::printf("%s\n\n  %6s %8s  %-7s answer\n", heading(common, run, session.cache_bytes()).c_str(), "depth", "key",
              "");
  for (const PasskeyTrial& trial : trials) {
    correct += trial.correct ? 1 : 0;
    const std::string answer = quoted(trial.answer);
    std::printf("  %5.0f%% %8s  %-7s %s\n", trial.depth * 100, trial.expected.c_str(),
                trial.correct ? "right" : "wrong", answer.c_str());
    json["trials"].push_back({{"depth", trial.depth},
                              {"expected", trial.expected},
                              {"answer", Json::parse(answer)},
                              {"correct", trial.correct}});
  }
  std::printf("  %td of %td, in %.1f s\n", correct, options.trials, seconds);
  json["correct"] = correct;
  json["seconds"] = seconds;
  write_json(common.json, json);
  return 0;
}

}  // namespace

Command add_ppl(CLI::App& app) {
  const auto options = std::make_shared<PplOptions>();
  CLI::App& command = *app.add_subcommand("ppl", "perplexity of a text by position");
  add_common_options(command, options->common, "tokens to read");
  command.add_option("--text", options->text, "UTF-8 file, read from its first character")
      ->required()
      ->check(CLI::ExistingFile);
  command.add_option("--bucket", options->bucket, "positions per line of the table")
      ->check(CLI::Range(Index{1}, most_tokens));
  command
      .add_option("--context", options->context,
                  "of rope: each bucket is read with so many tokens at most, its own the last; default: all before it")
      ->check(CLI::Range(Index{1}, most_tokens));
  command.add_flag("--nll", options->nll, "every token's negative log likelihood in the JSON");
  return {&command, [options] { return run_ppl(*options); }};
}

Command add_passkey(CLI::App& app) {
  const auto options = std::make_shared<PasskeyCommandOptions>();
  CLI::App& command = *app.add_subcommand("passkey", "find a five-digit key in a long text");
  add_common_options(command, options->common, "tokens to read");
  command.add_option("--trials", options->trials, "keys at as many depths; default 3")
      ->check(CLI::Range(Index{1}, Index{1000}));
  command.add_option("--seed", options->seed, "of the keys; default 1");
  return {&command, [options] { return run_passkey(*options); }};
}

}  // namespace dca_lm
