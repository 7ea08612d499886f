#include "file_roles.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "error.hpp"
#include "messages.hpp"

namespace dca_lm {
namespace {

enum class Role {
  honoured,  // results follow it
  harmless,  // results do not depend on it
  neutral,   // allowed with the listed values, refused with others
  refused    // results may depend on it
};

/// Of a key. A * in the name stands for anything; in that of a tensor, below, for the number of a layer.
struct Entry {
  std::string_view name;
  Role role;
  std::string_view neutral = {};  // as `written` writes them, with " or " between
};

/// The first that fits counts.
constexpr Entry keys[] = {
    {"general.architecture", Role::honoured},
    {"general.alignment", Role::honoured},
    {"general.type", Role::neutral, "model"},
    {"general.quantization_version", Role::neutral, "2"},
    {"general.*", Role::harmless},
    {"split.count", Role::honoured},

    {"llama.block_count", Role::honoured},
    {"llama.context_length", Role::honoured},
    {"llama.embedding_length", Role::honoured},
    {"llama.feed_forward_length", Role::honoured},
    {"llama.attention.head_count", Role::honoured},
    {"llama.attention.head_count_kv", Role::honoured},
    {"llama.attention.key_length", Role::honoured},
    {"llama.attention.value_length", Role::honoured},
    {"llama.attention.layer_norm_rms_epsilon", Role::honoured},
    {"llama.rope.dimension_count", Role::honoured},
    {"llama.rope.freq_base", Role::honoured},
    {"llama.rope.scaling.type", Role::honoured},
    {"llama.vocab_size", Role::harmless},  // the tokens are counted, and the tensors have as many rows
    {"llama.attention.layer_norm_epsilon", Role::harmless},
    {"llama.pooling_type", Role::harmless},
    {"llama.rope.scaling.original_context_length", Role::harmless},  // without a scaling
    {"llama.rope.scaling.finetuned", Role::harmless},
    {"llama.rope.scaling.factor", Role::neutral, "0 or 1"},  // linear where there is no type
    {"llama.rope.scaling.attn_factor", Role::neutral, "1"},
    {"llama.rope.scale_linear", Role::neutral, "0 or 1"},
    {"llama.attention.causal", Role::neutral, "true or 1"},
    {"llama.attention.scale", Role::neutral, "0"},
    {"llama.attention.sliding_window", Role::neutral, "0"},
    {"llama.attention.clamp_kqv", Role::neutral, "0"},
    {"llama.attention.max_alibi_bias", Role::neutral, "0"},
    {"llama.attn_logit_softcapping", Role::neutral, "0"},
    {"llama.final_logit_softcapping", Role::neutral, "0"},
    {"llama.logit_scale", Role::neutral, "0 or 1"},
    {"llama.residual_scale", Role::neutral, "0 or 1"},
    {"llama.embedding_scale", Role::neutral, "0 or 1"},
    {"llama.expert_count", Role::neutral, "0"},
    {"llama.expert_used_count", Role::neutral, "0"},
    {"llama.expert_shared_count", Role::neutral, "0"},
    {"llama.expert_group_count", Role::neutral, "0"},
    {"llama.leading_dense_block_count", Role::neutral, "0"},
    {"llama.nextn_predict_layers", Role::neutral, "0"},
    {"llama.use_parallel_residual", Role::neutral, "false or 0"},
    {"llama.swin_norm", Role::neutral, "false or 0"},
    {"llama.hidden_activation", Role::neutral, "silu"},
    {"llama.tensor_data_layout", Role::neutral, "Meta AI original pth"},
    {"llama.*", Role::refused},

    {"tokenizer.ggml.model", Role::honoured},
    {"tokenizer.ggml.pre", Role::honoured},
    {"tokenizer.ggml.tokens", Role::honoured},
    {"tokenizer.ggml.token_type", Role::honoured},
    {"tokenizer.ggml.merges", Role::honoured},
    {"tokenizer.ggml.bos_token_id", Role::honoured},
    {"tokenizer.ggml.eos_token_id", Role::honoured},
    {"tokenizer.ggml.eot_token_id", Role::honoured},
    {"tokenizer.ggml.eom_token_id", Role::honoured},
    {"tokenizer.ggml.eos_token_ids", Role::honoured},
    {"tokenizer.ggml.add_bos_token", Role::honoured},
    {"tokenizer.ggml.add_*", Role::neutral, "false or 0"},  // other tokens, or a space, before or after texts
    {"tokenizer.ggml.remove_extra_whitespaces", Role::neutral, "false or 0"},
    {"tokenizer.ggml.normalizer.lowercase", Role::neutral, "false or 0"},
    {"tokenizer.ggml.normalizer.strip_accents", Role::neutral, "false or 0"},
    {"tokenizer.ggml.scores", Role::harmless},       // merges have ranks
    {"tokenizer.ggml.*_token_id", Role::harmless},   // of tokens that no text begins or ends with
    {"tokenizer.chat_template", Role::honoured},     // with --chat
    {"tokenizer.chat_template*", Role::harmless},    // others by name, which nobody asks for
    {"tokenizer.huggingface.json", Role::harmless},  // the same once more
    {"tokenizer.*", Role::refused},

    {"adapter.*", Role::refused},
    {"*", Role::harmless},  // of other programs: how the file was made
};

/// Those that are honoured: any other is refused.
constexpr std::string_view tensors[] = {
    "token_embd.weight",        "output.weight",          "output_norm.weight",
    "rope_freqs.weight",        "blk.*.attn_norm.weight", "blk.*.ffn_norm.weight",
    "blk.*.attn_q.weight",      "blk.*.attn_k.weight",    "blk.*.attn_v.weight",
    "blk.*.attn_output.weight", "blk.*.ffn_gate.weight",  "blk.*.ffn_up.weight",
    "blk.*.ffn_down.weight",
};

/// What the * of a pattern stands for in a name that fits it; the whole name where there is none.
std::optional<std::string_view> fitted(std::string_view pattern, std::string_view name) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) return name == pattern ? std::optional(name) : std::nullopt;
  const std::string_view before = pattern.substr(0, star), after = pattern.substr(star + 1);
  if (name.size() < before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after)) return {};
  return name.substr(before.size(), name.size() - before.size() - after.size());
}

std::string written(double number) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.9g", number);
  return text.data();
}

std::string written(const GgufValue& value) {
  struct Write {
    std::string operator()(std::uint64_t number) const { return std::to_string(number); }
    std::string operator()(std::int64_t number) const { return std::to_string(number); }
    std::string operator()(double number) const { return written(number); }
    std::string operator()(bool yes) const { return yes ? "true" : "false"; }
    std::string operator()(std::string_view text) const { return std::string(text); }
    std::string operator()(const GgufArray& array) const { return "an array of " + std::to_string(array.count); }
  };
  return std::visit(Write{}, value);
}

bool is_one_of(std::string_view text, std::string_view list) {
  constexpr std::string_view between = " or ";
  for (;;) {
    const std::size_t end = list.find(between);
    if (text == list.substr(0, end)) return true;
    if (end == std::string_view::npos) return false;
    list.remove_prefix(end + between.size());
  }
}

/// Sorted, so that the same name is reported every time.
template <class Map>
std::vector<std::string_view> sorted_names(const Map& map) {
  std::vector<std::string_view> names;
  for (const auto& entry : map) names.push_back(entry.first);
  std::sort(names.begin(), names.end());
  return names;
}

void check_key(std::string_view key, const GgufValue& value) {
  const Entry& entry = *std::find_if(std::begin(keys), std::end(keys),
                                     [&](const Entry& one) { return fitted(one.name, key).has_value(); });
  if (entry.role == Role::neutral && !is_one_of(written(value), entry.neutral)) {
    throw Error("GGUF: " + printable(key) + ": " + printable(written(value)) + "; must be " +
                std::string(entry.neutral) + ", anything else is not supported");
  }
  if (entry.role == Role::refused) {
    throw Error("GGUF: " + printable(key) + ": " + printable(written(value)) +
                "; not supported; it may change results");
  }
}

bool is_layer(std::string_view text, std::uint64_t layers) {
  std::uint64_t layer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  return error == std::errc() && std::to_string(layer) == text && layer < layers;
}

void check_tensor(std::string_view name, std::uint64_t layers) {
  for (const std::string_view pattern : tensors) {
    const auto star = fitted(pattern, name);
    if (star && (!pattern.starts_with("blk.") || is_layer(*star, layers))) return;
  }
  throw Error("GGUF: tensor " + printable(name) + "; unknown tensor for a Llama model of " + std::to_string(layers) +
              " layers; it may change results");
}

}  // namespace

void check_roles(const GgufFile& file, std::uint64_t layers) {
  for (const std::string_view key : sorted_names(file.values())) check_key(key, *file.find(key));
  for (const std::string_view name : sorted_names(file.tensors())) check_tensor(name, layers);
}

}  // namespace dca_lm
