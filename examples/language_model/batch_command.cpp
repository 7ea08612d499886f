// batch: several prompts at once, beside the same prompts one by one.
#include "batch.hpp"

#include <numeric>

#include "command.hpp"
#include "error.hpp"
#include "messages.hpp"
#include "progress.hpp"

namespace dca_lm {
namespace {

struct BatchCommandOptions {
  CommonOptions common;
  std::vector<std::string> prompt_files;
  Index block_size = 64, blocks = 0, prefill_chunk = 128;
  bool check = false;
};

using Prompts = std::vector<std::vector<Token>>;

Prompts read_prompts(const std::vector<std::string>& paths, const Run& run) {
  Prompts prompts;
  for (const std::string& path : paths) prompts.push_back(run.encode_file(path));
  return prompts;
}

/// What errors call the prompts: their numbers, as in the table, and their files.
std::vector<std::string> names_of(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths)
    names.push_back("prompt " + std::to_string(names.size() + 1) + " (" + path + ")");
  return names;
}

Index generated(const BatchRun& run) {
  return std::accumulate(
      run.continuations.begin(), run.continuations.end(), Index{0},
      [](Index sum, const Continuation& one) { return sum + static_cast<Index>(one.tokens.size()); });
}

/// What a run says of its speed.
void report(const char* name, const BatchRun& run, Index prompt_tokens, Json& json) {
  const auto rate = [&](Index tokens) { return run.seconds > 0 ? static_cast<double>(tokens) / run.seconds : 0; };
  std::printf("  %-10s %5td steps, %td of them mixed, in %.2f s: %.1f generated tokens/s, %.1f with the prompts'\n",
              name, run.steps, run.mixed_steps, run.seconds, rate(generated(run)),
              rate(prompt_tokens + generated(run)));
  json = {{"steps", run.steps},
          {"mixed_steps", run.mixed_steps},
          {"seconds", run.seconds},
          {"generated_tokens_per_second", rate(generated(run))},
          {"tokens_per_second", rate(prompt_tokens + generated(run))}};
}

/// The table of prompts; how many mismatches there are.
Index report_prompts(const Prompts& prompts, const BatchRun& batched, const BatchRun* alone, const Tokenizer& tokenizer,
                     Json& json) {
  Index mismatches = 0;
  std::printf("\n  %6s %8s %10s  %s\n", "prompt", "tokens", "generated", alone != nullptr ? "beside one by one" : "");
  for (std::size_t k = 0; k < prompts.size(); ++k) {
    const Continuation& one = batched.continuations[k];
    Json row{{"prompt_tokens", prompts[k].size()}, {"generated", one.tokens}, {"text", tokenizer.decode(one.tokens)}};
    std::string verdict;
    if (alone != nullptr) {
      const Comparison comparison = compare(one, alone->continuations[k]);
      const bool same = comparison.differs_at < 0;
      mismatches += comparison.mismatch ? 1 : 0;
      row["same"] = same;
      verdict = "same";
      if (!same) {
        std::array<char, 128> text{};
        std::snprintf(text.data(), text.size(), "%s at token %td, logit gap %.2e",
                      comparison.mismatch ? "DIFFERS" : "a tie fell otherwise", comparison.differs_at, comparison.gap);
        verdict = text.data();
        row["differs_at"] = comparison.differs_at;
        row["gap"] = comparison.gap;
        row["mismatch"] = comparison.mismatch;
      }
    }
    std::printf("  %6zu %8zu %10zu  %s\n", k + 1, prompts[k].size(), one.tokens.size(), verdict.c_str());
    json["prompts"].push_back(row);
  }
  return mismatches;
}

/// The cache of a run: --blocks, or as many as all prompts need at once.
CacheSize cache_size(const BatchCommandOptions& options, const Prompts& prompts) {
  Index blocks = options.blocks;
  for (const auto& prompt : prompts) {
    const Index needed = blocks_needed(prompt.size(), options.common.tokens, options.block_size);
    if (options.blocks == 0) blocks += needed;
  }
  return {static_cast<Index>(prompts.size()), blocks * options.block_size, options.block_size};
}

int run_batch_command(BatchCommandOptions& options) {
  CommonOptions& common = options.common;
  const Run run(common);
  const Prompts prompts = read_prompts(options.prompt_files, run);
  std::size_t longest = 0, prompt_tokens = 0;
  for (const auto& prompt : prompts) {
    longest = std::max(longest, prompt.size());
    prompt_tokens += prompt.size();
  }
  const Attention attention = run.attention(common, static_cast<Index>(longest) + common.tokens);
  const CacheSize size = cache_size(options, prompts);
  const KvStorage storage = common.kv_storage();
  const BatchOptions how{common.tokens, options.prefill_chunk, run.tokenizer.ends(), names_of(options.prompt_files)};
  Session session(run.model, attention, run.executor, size, storage);
  const BatchRun batched = [&] {
    const Progress progress("batch");
    return run_batch(session, size, prompts, how, std::ref(progress));
  }();

  Json json = describe(common, run, session.cache_bytes());
  json["block_size"] = options.block_size;
  json["blocks"] = size.tokens / size.block_size;
  json["prefill_chunk"] = options.prefill_chunk;
  std::printf("%s, %td blocks of %td tokens\n", heading(common, run, session.cache_bytes()).c_str(),
              size.tokens / size.block_size, size.block_size);
  BatchRun alone;
  if (options.check) {
    const Progress progress("one by one");
    alone = run_one_by_one(run.model, attention, run.executor, storage, prompts, how, std::ref(progress), &session);
  }
  const Index mismatches = report_prompts(prompts, batched, options.check ? &alone : nullptr, run.tokenizer, json);
  std::printf("\n");
  report("batch", batched, static_cast<Index>(prompt_tokens), json["batch"]);
  if (options.check) report("one by one", alone, static_cast<Index>(prompt_tokens), json["one_by_one"]);
  if (options.check) json["mismatches"] = mismatches;
  run.write_json(json);
  if (mismatches > 0) {
    throw Error(std::to_string(mismatches) + " of " + std::to_string(prompts.size()) +
                " prompts were continued otherwise one by one, where no tie explains it");
  }
  return 0;
}

}  // namespace

Command add_batch(CLI::App& app) {
  const auto options = std::make_shared<BatchCommandOptions>();
  CLI::App& command = *app.add_subcommand("batch", "continue several prompts at once, on one paged cache");
  add_common_options(command, options->common, "tokens to generate for each prompt, at most");
  command.add_option("--prompt-file", options->prompt_files, "UTF-8 file of one prompt; once for each prompt")
      ->required()
      ->check(regular_file());
  command.add_option("--block-size", options->block_size, "tokens in a block of the cache; default 64")
      ->check(CLI::Range(Index{1}, most_tokens));
  command.add_option("--blocks", options->blocks, "of the cache; default: as many as all prompts need at once")
      ->check(CLI::Range(Index{1}, most_tokens));
  command
      .add_option("--prefill-chunk", options->prefill_chunk, "read prompts in pieces of so many tokens; default 128")
      ->check(CLI::Range(Index{1}, most_tokens));
  command.add_flag("--check", options->check, "continue them one by one as well, compare, fail where they differ");
  return {&command, [options] { return run_batch_command(*options); }};
}

}  // namespace dca_lm
