// ppl: how well a model predicts a long text.
#include <array>
#include <cstdio>

#include "command.hpp"
#include "error.hpp"
#include "messages.hpp"
#include "perplexity.hpp"
#include "progress.hpp"

namespace dca_lm {
namespace {

struct PplOptions {
  CommonOptions common;
  std::string text;
  Index bucket = 2048, context = 0, step = 0;
  bool nll = false, chosen = false;
};

/// A record per layer, kv_head and block of queries; positions are [first, last), blocks those of `block_size` keys.
Json described(const std::vector<dca::compiled::Choices>& layers) {
  Json json = Json::array();
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    for (Index k = 0; k < layers[layer].size(); ++k) {
      const dca::compiled::Choices::Choice choice = layers[layer][k];
      json.push_back({{"layer", layer},
                      {"kv_head", choice.kv_head},
                      {"first_query", choice.queries.first},
                      {"last_query", choice.queries.last},
                      {"keys", choice.keys.last},
                      {"blocks", choice.blocks}});
    }
  }
  return json;
}

/// For the table; what a model without any idea comes to takes no more room.
std::string written(double perplexity) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), perplexity < 1e9 ? "%.2f" : "%.3e", perplexity);
  return text.data();
}

void check_context(const PplOptions& options) {
  if (options.context == 0 && options.step > 0) throw Error("--step; is of --context");
  if (options.context == 0) return;
  if (options.common.attention.name != "rope") {
    throw Error("--context " + std::to_string(options.context) + "; is for --attention rope, the control");
  }
}

int run_ppl(PplOptions& options) {
  CommonOptions& common = options.common;
  check_context(options);
  if (options.context > 0 && options.step == 0) options.step = std::max<Index>(1, options.context / 2);
  const Run run(common);
  const Attention attention = run.attention(common, common.tokens);
  std::vector<Token> tokens = run.encode_file(options.text);
  if (static_cast<Index>(tokens.size()) <= common.tokens) {
    throw Error("--tokens " + std::to_string(common.tokens) + "; " + printable(options.text) + " has " +
                std::to_string(tokens.size()) + ", and one more is needed to score the last");
  }
  const std::size_t text_tokens = tokens.size();
  tokens.resize(static_cast<std::size_t>(common.tokens) + 1);
  const Index room = options.context == 0 ? common.tokens : std::min(options.context, common.tokens);
  Session session(run.model, attention, run.executor, {.tokens = room}, common.kv_storage());
  std::vector<dca::compiled::Choices> chosen;
  if (options.chosen) session.record(&chosen);
  const auto start = std::chrono::steady_clock::now();
  const std::vector<double> nll = [&] {
    const Progress progress("perplexity");
    const SlidingContext context{options.context, options.step, run.tokenizer.start()};
    if (options.context > 0) return negative_log_likelihoods(session, tokens, context, std::ref(progress));
    return negative_log_likelihoods(session, tokens, std::ref(progress));
  }();
  const double seconds = seconds_since(start);
  const double perplexity = perplexity_of(nll);

  Json json = describe(common, run, session.cache_bytes());
  if (options.context > 0) json.update({{"context", options.context}, {"step", options.step}});
  json["text_tokens"] = text_tokens;
  json["perplexity"] = perplexity;
  json["buckets"] = Json::array();
  std::printf("%s\n\n  %10s %10s %12s\n", heading(common, run, session.cache_bytes()).c_str(), "from", "to",
              "perplexity");
  for (const PerplexityBucket& bucket : perplexity_buckets(nll, options.bucket)) {
    std::printf("  %10td %10td %12s\n", bucket.from, bucket.to, written(bucket.perplexity).c_str());
    json["buckets"].push_back({{"from", bucket.from}, {"to", bucket.to}, {"perplexity", bucket.perplexity}});
  }
  std::printf("  %21s %12s   in %.1f s\n", "all", written(perplexity).c_str(), seconds);
  if (options.nll) json["nll"] = nll;
  if (options.chosen) json["chosen"] = described(chosen);
  json["seconds"] = seconds;
  run.write_json(json);
  return 0;
}

}  // namespace

Command add_ppl(CLI::App& app) {
  const auto options = std::make_shared<PplOptions>();
  CLI::App& command = *app.add_subcommand("ppl", "perplexity of a text by position");
  add_common_options(command, options->common, "tokens to read");
  command.add_option("--text", options->text, "UTF-8 file, read from its first character")
      ->required()
      ->check(regular_file());
  command.add_option("--bucket", options->bucket, "positions per line of the table")
      ->check(CLI::Range(Index{1}, most_tokens));
  command
      .add_option("--context", options->context,
                  "of rope, as the control: targets see so many tokens at most, in windows that move on by --step")
      ->check(CLI::Range(Index{1}, most_tokens));
  command.add_option("--step", options->step, "of --context, at most that; default half of it")
      ->check(CLI::Range(Index{1}, most_tokens));
  command.add_flag("--nll", options->nll, "every token's negative log likelihood in the JSON");
  command.add_flag("--chosen", options->chosen, "which blocks of distant keys --inter chose, in the JSON");
  return {&command, [options] { return run_ppl(*options); }};
}

}  // namespace dca_lm
