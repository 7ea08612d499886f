// generate: a prompt continued, as the tokens come.
#include <optional>

#include "chat_template.hpp"
#include "command.hpp"
#include "error.hpp"
#include "generation.hpp"
#include "messages.hpp"
#include "progress.hpp"
#include "utf8_stream.hpp"

namespace dca_lm {
namespace {

struct GenerateOptions {
  CommonOptions common;
  std::string prompt_file;
  bool chat = false;
  Index prefill_chunk = 0;
  SamplingOptions sampling;
};

/// The text of a message: an editor's last line break is not part of it.
std::string_view message_of(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

/// Writes model output to stdout: raw, but escaped on a terminal.
class Show {
 public:
  void operator()(const std::string& text) const {
    const std::string& shown = terminal_ ? printable(text, text.size(), "\n\t") : text;
    std::fwrite(shown.data(), 1, shown.size(), stdout);
    std::fflush(stdout);
  }

 private:
  bool terminal_ = isatty(STDOUT_FILENO) == 1;
};

double per_second(Index tokens, double seconds) { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }

/// Generates and prints; a progress bar is there until the first token comes.
Generation generate_and_print(Session& session, const Tokenizer& tokenizer, std::span<const Token> prompt,
                              const GenerationOptions& options) {
  std::optional<Progress> progress(std::in_place, "prefill");
  Utf8Stream characters;
  const Show show;
  const Generation generation = generate(
      session, prompt, options,
      [&](Token token, const auto&) {
        progress.reset();
        show(characters.push(tokenizer.decode({&token, 1})));
      },
      [&](double share) { (*progress)(share); });
  show(characters.finish() + "\n");
  return generation;
}

int run_generate(GenerateOptions& options) {
  CommonOptions& common = options.common;
  const Run run(common);
  GenerationOptions how{.tokens = common.tokens,
                        .prefill_chunk = options.prefill_chunk,
                        .sampling = options.sampling,
                        .ends = run.tokenizer.ends()};
  std::vector<Token> prompt;
  if (options.chat) {
    const auto chat = naming(run.path, [&] { return ChatTemplate(run.file, run.tokenizer); });
    const std::string text = read_text(options.prompt_file);
    prompt = naming(options.prompt_file, [&] { return chat.prompt(run.tokenizer, message_of(text)); });
    how.ends.push_back(chat.end());
  } else {
    prompt = run.encode_file(options.prompt_file);
  }
  const Index room = static_cast<Index>(prompt.size()) + common.tokens;
  const Attention attention = run.attention(common, room);
  Session session(run.model, attention, run.executor, {.tokens = room}, common.kv_storage());
  const Generation generation = generate_and_print(session, run.tokenizer, prompt, how);

  const auto prompt_tokens = static_cast<Index>(prompt.size());
  const double prefill_rate = per_second(prompt_tokens, generation.prefill_seconds);
  const double decode_rate = per_second(generation.decoded, generation.decode_seconds);
  std::fprintf(stderr, "%s\n%td prompt tokens at %.1f tokens/s, %zu generated at %.1f tokens/s, cache %td bytes\n",
               heading(common, run, session.cache_bytes()).c_str(), prompt_tokens, prefill_rate,
               generation.tokens.size(), decode_rate, session.cache_bytes());
  Json json = describe(common, run, session.cache_bytes());
  json["chat"] = options.chat;
  json["temperature"] = options.sampling.temperature;
  json["top_k"] = options.sampling.top_k;
  json["top_p"] = options.sampling.top_p;
  json["seed"] = options.sampling.seed;
  json["prefill_chunk"] = options.prefill_chunk;
  json["prompt_tokens"] = prompt_tokens;
  json["generated"] = generation.tokens;
  json["ended"] = generation.ended;
  json["text"] = run.tokenizer.decode(generation.tokens);
  json["prefill_tokens_per_second"] = prefill_rate;
  json["decode_tokens_per_second"] = decode_rate;
  run.write_json(json);
  return 0;
}

}  // namespace

Command add_generate(CLI::App& app) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App& command = *app.add_subcommand("generate", "continue a prompt");
  add_common_options(command, options->common, "tokens to generate, at most");
  command.add_option("--prompt-file", options->prompt_file, "UTF-8 file")->required()->check(regular_file());
  command.add_flag("--chat", options->chat,
                   "the file, without a last line break, is the user's message in the model's chat template");
  command.add_option("--prefill-chunk", options->prefill_chunk, "read the prompt in pieces of so many tokens")
      ->check(CLI::Range(Index{1}, most_tokens));
  SamplingOptions& sampling = options->sampling;
  command.add_option("--temperature", sampling.temperature, "0 (default): always the likeliest token")
      ->check(number_in(0, 100));
  command.add_option("--top-k", sampling.top_k, "draw from the k likeliest tokens; 0 (default): from all")
      ->check(CLI::Range(Index{0}, most_tokens));
  command.add_option("--top-p", sampling.top_p, "draw from the fewest tokens of so much probability; default 1")
      ->check(number_above(0, 1));
  command.add_option("--seed", sampling.seed, "of the draws; default 1");
  return {&command, [options] { return run_generate(*options); }};
}

}  // namespace dca_lm
