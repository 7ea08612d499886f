// dca_lm: what Dual Chunk Attention does for a language model beyond its trained window.
#include <CLI/CLI.hpp>
#include <cmath>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "error.hpp"
#include "mapped_file.hpp"
#include "passkey.hpp"
#include "perplexity.hpp"
#include "progress.hpp"

namespace dca_lm {
namespace {

struct Options {
  std::string model, text, json;
  AttentionChoice attention;
  Index tokens = 0, bucket = 2048, trials = 3;
  std::uint32_t seed = 1;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  bool nll = false;
};

using Json = nlohmann::ordered_json;

/// The model of a run, on the threads of the run.
struct Run {
  explicit Run(Options& options)
      : pool(options.threads),
        device(&pool, options.threads),
        file(options.model),
        tokenizer(file),
        model(file, device) {
    const ModelRope& rope = model.config().rope;
    AttentionChoice& choice = options.attention;
    const auto defaults = dca::ChunkLayout::from_trained_window(rope.trained_window);
    if (choice.chunk_size == 0) choice.chunk_size = defaults.chunk_size();
    if (choice.local_window < 0) choice.local_window = std::min(defaults.local_window(), choice.chunk_size - 1);
    if (choice.rope_scale == 0) {
      choice.rope_scale = std::max(1.0, static_cast<double>(options.tokens) / static_cast<double>(rope.trained_window));
    }
  }

  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;
  GgufFile file;
  Tokenizer tokenizer;
  LlamaModel model;
};

Json describe(const Options& options, const Run& run) {
  Json json{{"attention", options.attention.name}, {"tokens", options.tokens}};
  json["model"] = options.model;
  json["trained_window"] = run.model.config().rope.trained_window;
  if (options.attention.name == "dca") {
    json["chunk_size"] = options.attention.chunk_size;
    json["local_window"] = options.attention.local_window;
  } else if (options.attention.name != "rope") {
    json["rope_scale"] = options.attention.rope_scale;
  }
  json["threads"] = options.threads;
  json["instruction_set"] = dca::kernel_info().instruction_set;
  return json;
}

void print_heading(const Options& options, const Run& run) {
  std::printf("%s, %td tokens (trained window %td), %d threads, %s", options.attention.name.c_str(), options.tokens,
              run.model.config().rope.trained_window, options.threads, dca::kernel_info().instruction_set);
  if (options.attention.name == "dca") {
    std::printf(", chunk_size %td, local_window %td", options.attention.chunk_size, options.attention.local_window);
  } else if (options.attention.name != "rope") {
    std::printf(", scale %g", options.attention.rope_scale);
  }
  std::printf("\n");
}

void write_json(const std::string& path, const Json& json) {
  if (path.empty()) return;
  std::ofstream file(path);
  file << json.dump(2) << "\n";
  if (!file.flush()) throw Error("--json " + path + ": cannot be written");
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run_ppl(Options& options) {
  Run run(options);
  const Attention attention(options.attention, run.model.config().rope);
  const MappedFile text(options.text);
  std::vector<Token> tokens =
      run.tokenizer.encode({reinterpret_cast<const char*>(text.bytes().data()), text.bytes().size()});
  if (static_cast<Index>(tokens.size()) <= options.tokens) {
    throw Error("--tokens " + std::to_string(options.tokens) + "; " + options.text + " has " +
                std::to_string(tokens.size()) + ", and one more is needed to score the last");
  }
  tokens.resize(static_cast<std::size_t>(options.tokens) + 1);
  const auto start = std::chrono::steady_clock::now();
  const std::vector<double> nll = [&] {
    const Progress progress("perplexity");
    return negative_log_likelihoods(run.model, attention, run.device, tokens, std::ref(progress));
  }();
  const double seconds = seconds_since(start);
  const double mean = std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(nll.size());

  print_heading(options, run);
  Json json = describe(options, run);
  json["perplexity"] = std::exp(mean);
  json["buckets"] = Json::array();
  std::printf("\n  %10s %10s %12s\n", "from", "to", "perplexity");
  for (const PerplexityBucket& bucket : perplexity_buckets(nll, options.bucket)) {
    std::printf("  %10td %10td %12.2f\n", bucket.from, bucket.to, bucket.perplexity);
    json["buckets"].push_back({{"from", bucket.from}, {"to", bucket.to}, {"perplexity", bucket.perplexity}});
  }
  std::printf("  %21s %12.2f   in %.1f s\n", "all", std::exp(mean), seconds);
  if (options.nll) json["nll"] = nll;
  json["seconds"] = seconds;
  write_json(options.json, json);
}

void run_passkey(Options& options) {
  Run run(options);
  const Attention attention(options.attention, run.model.config().rope);
  const auto start = std::chrono::steady_clock::now();
  const std::vector<PasskeyTrial> trials = [&] {
    const Progress progress("passkey");
    return passkey_trials(run.model, run.tokenizer, attention, run.device,
                          {options.tokens, options.trials, options.seed}, std::ref(progress));
  }();
  const double seconds = seconds_since(start);

  print_heading(options, run);
  Json json = describe(options, run);
  json["seed"] = options.seed;
  json["trials"] = Json::array();
  Index correct = 0;
  std::printf("\n  %6s %8s  %-7s answer\n", "depth", "key", "");
  for (const PasskeyTrial& trial : trials) {
    correct += trial.correct ? 1 : 0;
    // An answer may end within a character: what is not UTF-8 is replaced.
    const std::string answer = Json(trial.answer).dump(-1, ' ', false, Json::error_handler_t::replace);
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
  write_json(options.json, json);
}

void add_common_options(CLI::App& command, Options& options) {
  AttentionChoice& attention = options.attention;
  attention.local_window = -1;
  attention.rope_scale = 0;
  constexpr Index most_tokens = Index{1} << 24;
  command.add_option("--model", options.model, "GGUF file of a Llama model")->required()->check(CLI::ExistingFile);
  command.add_option("--tokens", options.tokens, "tokens to read")
      ->required()
      ->check(CLI::Range(Index{1}, most_tokens));
  command.add_option("--attention", attention.name, "dca, rope, linear, ntk or yarn")
      ->required()
      ->check(CLI::IsMember({"dca", "rope", "linear", "ntk", "yarn"}));
  command.add_option("--chunk-size", attention.chunk_size, "of dca; default 3/4 of the trained window")
      ->check(CLI::Range(Index{1}, most_tokens));
  command.add_option("--local-window", attention.local_window, "of dca; default 1/8 of the trained window")
      ->check(CLI::Range(Index{0}, most_tokens));
  command.add_option("--rope-scale", attention.rope_scale, "of linear, ntk, yarn; default max(1, tokens / window)")
      ->check(CLI::Range(1.0, 1e6));
  command.add_option("--threads", options.threads, "default: all of this machine")->check(CLI::Range(1, 1024));
  command.add_option("--json", options.json, "write the results to this file");
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("What Dual Chunk Attention does for a language model beyond its trained window");
  app.require_subcommand(1);
  CLI::App& ppl = *app.add_subcommand("ppl", "perplexity of a text by position");
  add_common_options(ppl, options);
  ppl.add_option("--text", options.text, "UTF-8 file, read from its first character")
      ->required()
      ->check(CLI::ExistingFile);
  ppl.add_option("--bucket", options.bucket, "positions per line of the table")
      ->check(CLI::Range(Index{1}, Index{1} << 24));
  ppl.add_flag("--nll", options.nll, "every token's negative log likelihood in the JSON");
  CLI::App& passkey = *app.add_subcommand("passkey", "find a five-digit key in a long text");
  add_common_options(passkey, options);
  passkey.add_option("--trials", options.trials, "keys at as many depths; default 3")
      ->check(CLI::Range(Index{1}, Index{1000}));
  passkey.add_option("--seed", options.seed, "of the keys; default 1");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  ppl.parsed() ? run_ppl(options) : run_passkey(options);
  return 0;
}

}  // namespace
}  // namespace dca_lm

int main(int argc, char** argv) {
  try {
    return dca_lm::run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "dca_lm: not enough memory\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
  }
  return 1;
}
