// passkey and needle: whether a model finds what is hidden in a long text.
#include <numeric>

#include "command.hpp"
#include "error.hpp"
#include "messages.hpp"
#include "needle.hpp"
#include "passkey.hpp"
#include "progress.hpp"
#include "retrieval.hpp"

namespace dca_lm {
namespace {

struct RetrievalOptions {
  CommonOptions common;
  std::vector<Index> lengths;
  std::vector<double> depths;
  Index trials = 0;
  std::uint32_t seed = 1;
  std::string text;  // needle's haystack
};

/// A finished trial, of either kind.
struct Trial {
  double depth;
  std::string expected, answer;
  bool correct;
  std::optional<double> probability;
};

/// Trials of one length, as the commands differ in them.
using RunTrials = std::function<std::vector<Trial>(const Run& run, const Attention& attention, Index tokens,
                                                   Index& cache_bytes, const ProgressCallback& progress)>;

void print_trials(const std::vector<Trial>& trials) {
  const bool scored = !trials.empty() && trials.front().probability.has_value();
  std::printf("\n  %6s %8s  %-7s %s\n", "depth", "hidden", "", scored ? "likeliest, chance of the hidden" : "answer");
  for (const Trial& trial : trials) {
    std::printf("  %5.0f%% %8s  %-7s \"%s\"", trial.depth * 100, trial.expected.c_str(),
                trial.correct ? "right" : "wrong", printable(trial.answer).c_str());
    if (scored) std::printf("  %.0f%%", *trial.probability * 100);
    std::printf("\n");
  }
}

Index count_correct(const std::vector<Trial>& trials) {
  return std::accumulate(trials.begin(), trials.end(), Index{0},
                         [](Index sum, const Trial& trial) { return sum + (trial.correct ? 1 : 0); });
}

Json as_json(const Trial& trial, Index tokens) {
  Json json{{"tokens", tokens}, {"depth", trial.depth}, {"expected", trial.expected}};
  json["answer"] = trial.answer;
  json["correct"] = trial.correct;
  if (trial.probability) json["probability"] = *trial.probability;
  return json;
}

/// How many of how many were found: a line for each length, a column for each depth.
void print_map(const std::vector<Index>& lengths, const std::vector<double>& depths, const Json& trials) {
  std::printf("\n  %8s", "tokens");
  for (const double depth : depths) std::printf(" %5.0f%%", depth * 100);
  std::printf("\n");
  for (const Index tokens : lengths) {
    std::printf("  %8td", tokens);
    for (const double depth : depths) {
      Index correct = 0, all = 0;
      for (const Json& trial : trials) {
        if (trial.at("tokens") != tokens || trial.at("depth") != depth) continue;
        ++all;
        correct += trial.at("correct").get<bool>() ? 1 : 0;
      }
      std::printf(" %6s", (std::to_string(correct) + "/" + std::to_string(all)).c_str());
    }
    std::printf("\n");
  }
}

/// The lengths one after the other: what an attention leaves to the length of its text follows from each.
int run_lengths(RetrievalOptions& options, const char* name, const RunTrials& run_trials) {
  const Run run(options.common);
  Json json, all = Json::array(), by_length = Json::array();
  double total_seconds = 0;
  Index correct = 0;
  for (const Index tokens : options.lengths) {
    CommonOptions common = options.common;
    common.tokens = tokens;
    const Attention attention = run.attention(common, tokens);
    Index cache_bytes = 0;
    const auto start = std::chrono::steady_clock::now();
    const std::vector<Trial> trials = [&] {
      const Progress progress(name);
      return run_trials(run, attention, tokens, cache_bytes, std::ref(progress));
    }();
    const double seconds = seconds_since(start);
    std::printf("%s%s\n", all.empty() ? "" : "\n", heading(common, run, cache_bytes).c_str());
    print_trials(trials);
    std::printf("  %td of %zu, in %.1f s\n", count_correct(trials), trials.size(), seconds);
    json = describe(common, run, cache_bytes);
    Json of_length{{"tokens", tokens}};
    of_length.update(settings_of(common.attention));
    of_length.update({{"correct", count_correct(trials)}, {"trials", trials.size()}, {"seconds", seconds}});
    by_length.push_back(of_length);
    for (const Trial& trial : trials) all.push_back(as_json(trial, tokens));
    correct += count_correct(trials);
    total_seconds += seconds;
  }
  if (options.lengths.size() > 1) {
    print_map(options.lengths, options.depths, all);
    json.erase("tokens");
    for (const auto& item : by_length.front().items()) {
      if (item.key() != "tokens") json.erase(item.key());  // they may differ: see lengths
    }
    json["lengths"] = by_length;
  }
  json["seed"] = options.seed;
  json["trials"] = all;
  json["correct"] = correct;
  json["seconds"] = total_seconds;
  run.write_json(json);
  return 0;
}

int run_passkey(RetrievalOptions& options) {
  return run_lengths(options, "passkey",
                     [&](const Run& run, const Attention& attention, Index tokens, Index& cache_bytes,
                         const ProgressCallback& progress) {
                       Session session(run.model, attention, run.executor, {.tokens = tokens + passkey_answer_tokens},
                                       options.common.kv_storage());
                       cache_bytes = session.cache_bytes();
                       std::vector<Trial> trials;
                       const PasskeyOptions how{tokens, options.depths, options.trials, options.seed};
                       for (const PasskeyTrial& trial : passkey_trials(session, run.tokenizer, how, progress)) {
                         trials.push_back({trial.depth, trial.expected, trial.answer, trial.correct, {}});
                       }
                       return trials;
                     });
}

int run_needle(RetrievalOptions& options) {
  std::vector<Token> haystack;
  return run_lengths(
      options, "needle",
      [&](const Run& run, const Attention& attention, Index tokens, Index& cache_bytes,
          const ProgressCallback& progress) {
        if (haystack.empty()) haystack = run.encode_file(options.text, Run::Beginning::none);
        Session session(run.model, attention, run.executor, {.tokens = tokens + needle_answer_tokens(run.tokenizer)},
                        options.common.kv_storage());
        cache_bytes = session.cache_bytes();
        std::vector<Trial> trials;
        const NeedleOptions how{tokens, options.depths, options.trials, options.seed};
        const Haystack text{haystack, options.text};
        for (const NeedleTrial& trial : needle_trials(session, run.tokenizer, text, how, progress)) {
          trials.push_back({trial.depth, trial.expected, trial.answer, trial.correct, trial.probability});
        }
        return trials;
      });
}

void add_retrieval_options(CLI::App& command, RetrievalOptions& options, const char* hidden) {
  command.add_option("--tokens", options.lengths, "tokens to read; several lengths as a list with commas")
      ->required()
      ->delimiter(',')
      ->check(CLI::Range(Index{1}, most_tokens));
  add_common_options(command, options.common);
  command
      .add_option("--depths", options.depths,
                  "where they are hidden: shares of the text, as a list with commas; default: evenly from 0.1 to 0.9")
      ->delimiter(',')
      ->check(number_in(0, 1));
  command
      .add_option("--trials", options.trials,
                  std::string(hidden) + ": at as many depths, default 3; with --depths at each of them, default 1")
      ->check(CLI::Range(Index{1}, Index{1000}));
  command.add_option("--seed", options.seed, std::string("of the ") + hidden + "; default 1");
}

/// Without depths, as many as there are trials.
void choose_depths(RetrievalOptions& options) {
  if (options.depths.empty()) {
    options.depths = even_depths(options.trials == 0 ? 3 : options.trials);
    options.trials = 1;
  }
  if (options.trials == 0) options.trials = 1;
}

}  // namespace

Command add_passkey(CLI::App& app) {
  const auto options = std::make_shared<RetrievalOptions>();
  CLI::App& command = *app.add_subcommand("passkey", "find a five-digit key in a long text");
  add_retrieval_options(command, *options, "keys");
  return {&command, [options] {
            choose_depths(*options);
            return run_passkey(*options);
          }};
}

Command add_needle(CLI::App& app) {
  const auto options = std::make_shared<RetrievalOptions>();
  CLI::App& command = *app.add_subcommand(
      "needle", "tell a sentence hidden in a long text from nine others by the likelihood of its word");
  add_retrieval_options(command, *options, "needles");
  command.add_option("--text", options->text, "UTF-8 file to hide it in, read from its first character")
      ->required()
      ->check(regular_file());
  return {&command, [options] {
            choose_depths(*options);
            return run_needle(*options);
          }};
}

}  // namespace dca_lm
