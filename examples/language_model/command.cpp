#include "command.hpp"

#include <fstream>
#include <sstream>
#include <thread>

#include "error.hpp"
#include "mapped_file.hpp"

namespace dca_lm {

CommonOptions::CommonOptions() : threads(static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))) {
  attention.local_window = -1;
  attention.rope_scale = 0;
}

void add_common_options(CLI::App& command, CommonOptions& options, const std::string& tokens_help) {
  AttentionChoice& attention = options.attention;
  command.add_option("--model", options.model, "GGUF file of a Llama model")->required()->check(CLI::ExistingFile);
  command.add_option("--tokens", options.tokens, tokens_help)->required()->check(CLI::Range(Index{1}, most_tokens));
  command.add_option("--attention", attention.name, "dca, rope, linear, ntk or yarn")
      ->required()
      ->check(CLI::IsMember({"dca", "rope", "linear", "ntk", "yarn"}));
  command.add_option("--chunk-size", attention.chunk_size, "of dca; default 3/4 of the trained window")
      ->check(CLI::Range(Index{1}, most_tokens));
  command.add_option("--local-window", attention.local_window, "of dca; default 1/8 of the trained window")
      ->check(CLI::Range(Index{0}, most_tokens));
  command.add_option("--rope-scale", attention.rope_scale, "of linear, ntk, yarn; default max(1, tokens / window)")
      ->check(CLI::Range(1.0, 1e6));
  command.add_option("--kv-type", options.kv_type, "of the cache: float (default), half, bfloat16, int8 or int4")
      ->check(CLI::IsMember({"float", "half", "bfloat16", "int8", "int4"}));
  command.add_option("--threads", options.threads, "default: all of this machine")->check(CLI::Range(1, 1024));
  command.add_option("--json", options.json, "write the results to this file");
}

Run::Run(const CommonOptions& options)
    : pool(options.threads),
      device(&pool, options.threads),
      file(options.model),
      tokenizer(file),
      model(file, device) {}

Attention Run::attention(CommonOptions& options, Index text_tokens) const {
  const ModelRope& rope = model.config().rope;
  AttentionChoice& choice = options.attention;
  const auto defaults = dca::ChunkLayout::from_trained_window(rope.trained_window);
  if (choice.chunk_size == 0) choice.chunk_size = defaults.chunk_size();
  if (choice.local_window < 0) choice.local_window = std::min(defaults.local_window(), choice.chunk_size - 1);
  if (choice.rope_scale == 0) {
    choice.rope_scale = std::max(1.0, static_cast<double>(text_tokens) / static_cast<double>(rope.trained_window));
  }
  return Attention(choice, rope);
}

Json describe(const CommonOptions& options, const Run& run, Index cache_bytes) {
  Json json{{"attention", options.attention.name}, {"tokens", options.tokens}};
  json["model"] = options.model;
  json["trained_window"] = run.model.config().rope.trained_window;
  if (options.attention.name == "dca") {
    json["chunk_size"] = options.attention.chunk_size;
    json["local_window"] = options.attention.local_window;
  } else if (options.attention.name != "rope") {
    json["rope_scale"] = options.attention.rope_scale;
  }
  json["kv_type"] = options.kv_type;
  json["cache_bytes"] = cache_bytes;
  json["threads"] = options.threads;
  json["instruction_set"] = dca::kernel_info().instruction_set;
  return json;
}

std::string heading(const CommonOptions& options, const Run& run, Index cache_bytes) {
  std::ostringstream line;
  line << options.attention.name << ", " << options.tokens << " tokens (trained window "
       << run.model.config().rope.trained_window << "), " << options.threads << " threads, "
       << dca::kernel_info().instruction_set;
  if (options.attention.name == "dca") {
    line << ", chunk_size " << options.attention.chunk_size << ", local_window " << options.attention.local_window;
  } else if (options.attention.name != "rope") {
    line << ", scale " << options.attention.rope_scale;
  }
  line << ", " << options.kv_type << " cache of " << mebibytes(cache_bytes);
  return line.str();
}

void write_json(const std::string& path, const Json& json) {
  if (path.empty()) return;
  std::ofstream file(path);
  file << json.dump(2) << "\n";
  if (!file.flush()) throw Error("--json " + path + ": cannot be written");
}

std::string quoted(const std::string& text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }

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
