#include "command.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <sstream>
#include <thread>

#include "mapped_file.hpp"
#include "messages.hpp"
#include "program/run_main.hpp"
#include "thread_limit.hpp"

namespace dca_lm {
namespace {

Index peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return usage.ru_maxrss;
#else
  return Index{usage.ru_maxrss} * 1024;
#endif
}

CLI::Validator number_where(const std::string& allowed, const std::function<bool(double)>& is_allowed) {
  return CLI::Validator(
      [=](std::string& text) {
        double number = 0;
        const bool read = CLI::detail::lexical_cast(text, number);
        return read && is_allowed(number) ? "" : "Value " + text + " not in range " + allowed;
      },
      "FLOAT in " + allowed);
}

std::string shortest(double number) {
  std::ostringstream text;
  text << number;
  return text.str();
}

}  // namespace

CLI::Validator number_in(double least, double most) {
  return number_where("[" + shortest(least) + " - " + shortest(most) + "]",
                      [=](double number) { return number >= least && number <= most; });
}

CLI::Validator number_above(double least, double most) {
  return number_where("(" + shortest(least) + " - " + shortest(most) + "]",
                      [=](double number) { return number > least && number <= most; });
}

CLI::Validator regular_file() {
  return CLI::Validator(
      [](std::string& path) -> std::string {
        std::error_code error;
        const auto status = std::filesystem::status(path, error);
        if (!std::filesystem::exists(status)) return "File does not exist: " + path;
        if (!std::filesystem::is_regular_file(status)) return "Not a regular file: " + path;
        return "";
      },
      "FILE");
}

CommonOptions::CommonOptions()
    : threads(std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, most_threads)) {
  attention.local_window = -1;
  attention.rope_scale = 0;
}

void add_model_options(CLI::App& command, CommonOptions& options) {
  command.add_option("--model", options.model, "GGUF file of a Llama model")->required()->check(regular_file());
  command.add_option("--kv-type", options.kv_type, "of the cache: float (default), half, bfloat16, int8 or int4")
      ->check(CLI::IsMember({"float", "half", "bfloat16", "int8", "int4"}));
  command
      .add_option(
          "--key-offset", options.key_offset,
          "of caches of types other than float: auto (default), keys are stored less what stands out in the mean "
          "of the first, or off")
      ->check(CLI::IsMember({"auto", "off"}));
  command.add_option("--threads", options.threads, "default: all of this machine")->check(CLI::Range(1, most_threads));
  command.add_option("--json", options.json, "write results here; an existing file is replaced when they are complete")
      ->check(program::file_name());
}

void add_common_options(CLI::App& command, CommonOptions& options) {
  add_model_options(command, options);
  AttentionChoice& attention = options.attention;
  std::vector<std::string> names;
  for (const AttentionMethod& method : attention_methods()) names.emplace_back(method.name);
  command.add_option("--attention", attention.name, attention_names())->required()->check(CLI::IsMember(names));
  command.add_option("--chunk-size", attention.chunk_size, "of dca, intra; default 3/4 of the trained window")
      ->check(CLI::Range(Index{1}, most_tokens));
  command
      .add_option("--local-window", attention.local_window,
                  "of dca, intra; default: 1/8 of the trained window, or 1/6 of a given --chunk-size if less")
      ->check(CLI::Range(Index{0}, most_tokens));
  command.add_option("--inter", attention.inter,
                     "of dca: keys of distant chunks to visit, all (default), recent:N or top:N");
  command.add_option("--rope-scale", attention.rope_scale, "of linear, ntk, yarn; default max(1, tokens / window)")
      ->check(number_in(1, 1e6));
  command.add_option("--sinks", attention.sinks, "of streaming: first tokens that stay visible; default 4")
      ->check(CLI::Range(Index{0}, most_tokens));
  command
      .add_option("--window", attention.window,
                  "recent tokens at true distances: of streaming, default the trained window less the sinks; of "
                  "self-extend, default 1/4 of it")
      ->check(CLI::Range(Index{1}, most_tokens));
  command
      .add_option("--group", attention.group,
                  "of self-extend: tokens to a position; default the fewest that keep positions in the trained window")
      ->check(CLI::Range(Index{1}, most_tokens));
}

void add_common_options(CLI::App& command, CommonOptions& options, const std::string& tokens_help) {
  command.add_option("--tokens", options.tokens, tokens_help)->required()->check(CLI::Range(Index{1}, most_tokens));
  add_common_options(command, options);
}

Run::Run(const CommonOptions& options)
    : results("--json", options.json),
      path(options.model),
      threads(granted_threads(options.threads)),
      executor(threads.executor()),
      file(path),
      tokenizer(naming(path, [&] { return Tokenizer(file); })),
      model(naming(path, [&] { return LlamaModel(file, executor); })) {}

Attention Run::attention(CommonOptions& options, Index text_tokens) const {
  const ModelRope& rope = model.config().rope;
  options.attention = with_defaults(options.attention, rope.trained_window, text_tokens);
  return Attention(options.attention, rope);
}

Json settings_of(const AttentionChoice& choice) {
  const AttentionMethod& method = attention_method(choice.name);
  Json settings = Json::object();
  if (method.has_chunks()) settings.update({{"chunk_size", choice.chunk_size}, {"local_window", choice.local_window}});
  if (choice.inter != "all") settings["inter"] = choice.inter;
  if (method.stretch != Stretch::none) settings["rope_scale"] = choice.rope_scale;
  if (method.remapping == Remapping::streaming) settings.update({{"sinks", choice.sinks}, {"window", choice.window}});
  if (method.remapping == Remapping::self_extend) settings.update({{"window", choice.window}, {"group", choice.group}});
  return settings;
}

Json describe(const CommonOptions& options, const Run& run, Index cache_bytes) {
  Json json{{"attention", options.attention.name}, {"tokens", options.tokens}};
  json["model"] = options.model;
  json["trained_window"] = run.model.config().rope.trained_window;
  json.update(settings_of(options.attention));
  json["kv_type"] = options.kv_type;
  json["key_offset"] = options.key_offset;
  json["cache_bytes"] = cache_bytes;
  json["peak_memory_bytes"] = peak_memory_bytes();
  json["threads"] = options.threads;
  json["instruction_set"] = dca::compiled::kernels_in_use().instruction_set;
  return json;
}

std::string heading(const CommonOptions& options, const Run& run, Index cache_bytes) {
  std::ostringstream line;
  line << options.attention.name << ", " << options.tokens << " tokens (trained window "
       << run.model.config().rope.trained_window << "), " << options.threads << " threads, "
       << dca::compiled::kernels_in_use().instruction_set;
  const Json settings = settings_of(options.attention);
  for (const auto& [name, number] : settings.items()) line << ", " << name << " " << number;
  line << ", " << options.kv_type << " cache of " << mebibytes(cache_bytes);
  return line.str();
}

void Run::write_json(const Json& json) const {
  if (results.wanted()) results.write(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::vector<Token> Run::encode_file(const std::string& text_path, Beginning beginning) const {
  const std::string text = read_text(text_path);
  return naming(text_path,
                [&] { return beginning == Beginning::of_text ? tokenizer.encode_text(text) : tokenizer.encode(text); });
}

std::string read_text(const std::string& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::string mebibytes(Index bytes) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text.data();
}

}  // namespace dca_lm
