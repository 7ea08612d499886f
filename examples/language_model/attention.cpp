#include "attention.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <dca/kv/small_integers.hpp>
#include <dca/rope/frequencies.hpp>

#include "error.hpp"
#include "messages.hpp"
#include "parts.hpp"

namespace dca_lm {
namespace {

namespace compiled = dca::compiled;

constexpr std::array methods{
    AttentionMethod{"dca", Remapping::dual_chunk, Stretch::none},
    AttentionMethod{"rope", Remapping::whole, Stretch::none},
    AttentionMethod{"linear", Remapping::whole, Stretch::linear},
    AttentionMethod{"ntk", Remapping::whole, Stretch::ntk},
    AttentionMethod{"yarn", Remapping::whole, Stretch::yarn},
    AttentionMethod{"dca+ntk", Remapping::dual_chunk, Stretch::ntk},
    AttentionMethod{"dca+yarn", Remapping::dual_chunk, Stretch::yarn},
    AttentionMethod{"streaming", Remapping::streaming, Stretch::none},
    AttentionMethod{"self-extend", Remapping::self_extend, Stretch::none},
    AttentionMethod{"intra", Remapping::intra_chunk, Stretch::none},
    AttentionMethod{"intra+inter", Remapping::intra_and_inter, Stretch::none},
};

dca::RopeFrequencies make_frequencies(Stretch stretch, const ModelRope& rope, double scale) {
  switch (stretch) {
    case Stretch::none:
      return dca::plain_frequencies(rope.rotary_dim, rope.theta);
    case Stretch::linear:
      return dca::linear_frequencies(rope.rotary_dim, rope.theta, scale);
    case Stretch::ntk:
      return dca::ntk_frequencies(rope.rotary_dim, rope.theta, scale);
    case Stretch::yarn:
      return dca::yarn_frequencies(rope.rotary_dim, rope.theta,
                                   {.factor = scale, .trained_window = rope.trained_window});
  }
  throw Error("frequencies: unknown");
}

dca::RopeFrequencies make_frequencies(const AttentionChoice& choice, const ModelRope& rope) {
  dca::RopeFrequencies frequencies = make_frequencies(attention_method(choice.name).stretch, rope, choice.rope_scale);
  for (std::size_t m = 0; m < rope.frequency_divisors.size(); ++m) {
    frequencies.inv_freq[m] /= rope.frequency_divisors[m];
  }
  return frequencies;
}

Index at_least(Index least, const char* option, Index value) {
  if (value < least) {
    throw Error(std::string(option) + " " + std::to_string(value) + "; must be at least " + std::to_string(least));
  }
  return value;
}

}  // namespace

std::span<const AttentionMethod> attention_methods() { return methods; }

const AttentionMethod& attention_method(const std::string& name) {
  const auto found = std::find_if(methods.begin(), methods.end(), [&](const auto& one) { return one.name == name; });
  if (found == methods.end()) throw Error("--attention " + printable(name) + "; must be " + attention_names());
  return *found;
}

std::string attention_names() {
  std::string names;
  for (const AttentionMethod& method : methods) {
    if (!names.empty()) names += &method == &methods.back() ? " or " : ", ";
    names += method.name;
  }
  return names;
}

AttentionChoice with_defaults(AttentionChoice choice, Index trained_window, Index text_tokens) {
  const auto chunks = dca::ChunkLayout::from_trained_window(trained_window);
  if (choice.local_window < 0) {
    // 1/6 is what the defaults have: a small chunk that is nearly all local window would move on by a few tokens.
    choice.local_window =
        choice.chunk_size == 0 ? chunks.local_window() : std::min(chunks.local_window(), choice.chunk_size / 6);
  }
  if (choice.chunk_size == 0) choice.chunk_size = chunks.chunk_size();
  if (choice.rope_scale == 0) {
    choice.rope_scale = std::max(1.0, static_cast<double>(text_tokens) / static_cast<double>(trained_window));
  }
  const bool streams = attention_method(choice.name).remapping == Remapping::streaming;
  if (choice.window == 0) {
    choice.window = std::max<Index>(1, streams ? trained_window - choice.sinks : trained_window / 4);
  }
  if (choice.group == 0) {
    const Index far = std::max<Index>(0, text_tokens - choice.window);
    const Index positions = std::max<Index>(1, trained_window - choice.window);
    choice.group = std::max<Index>(1, (far + positions - 1) / positions);
  }
  return choice;
}

Attention::Attention(const AttentionChoice& choice, const ModelRope& rope)
    : operator_(make(choice, rope)),
      has_distant_chunks_(attention_method(choice.name).has_distant_chunks()),
      inter_(inter_selection(choice.inter)) {}

template <class... Parts, class Layout>
Attention::Operator Attention::make_of(const Layout& layout, compiled::AttentionConfig config) {
  auto kept = std::make_shared<const Layout>(layout);
  const compiled::OwnParts parts = compiled::own_parts<Parts...>(*kept);
  config.own_parts = &parts;
  return {std::move(kept), compiled::Attention(config)};
}

Attention::Operator Attention::make(const AttentionChoice& choice, const ModelRope& rope) {
  const AttentionMethod& method = attention_method(choice.name);
  const dca::RopeFrequencies frequencies = make_frequencies(choice, rope);
  compiled::AttentionConfig config{.chunks = {.chunk_size = choice.chunk_size, .local_window = choice.local_window},
                                   .rope = {.pairing = compiled::RopePairing::interleaved,
                                            .attention_factor = frequencies.attention_factor,
                                            .inv_freq = frequencies.inv_freq}};
  const auto compose = [&](compiled::Composition composition) -> Operator {
    config.composition = composition;
    return {nullptr, compiled::Attention(config)};
  };
  switch (method.remapping) {
    case Remapping::dual_chunk:
      return compose(compiled::Composition::dual_chunk);
    case Remapping::whole:
      return compose(compiled::Composition::causal);
    case Remapping::intra_chunk:
      return compose(compiled::Composition::intra_chunk);
    case Remapping::intra_and_inter:
      return make_of<AllEarlierChunks, dca::IntraChunk>(dca::ChunkLayout(config.chunks), config);
    case Remapping::streaming: {
      const Index sinks = at_least(0, "--sinks", choice.sinks), window = at_least(1, "--window", choice.window);
      const remappings::StreamingLayout layout{sinks, window};
      return make_of<remappings::SinkTokens, remappings::RecentTokens>(layout, config);
    }
    case Remapping::self_extend: {
      const Index window = at_least(1, "--window", choice.window), group = at_least(1, "--group", choice.group);
      const remappings::SelfExtendLayout layout{window, group};
      return make_of<remappings::GroupedTokens, remappings::NeighbourTokens>(layout, config);
    }
  }
  throw Error("--attention " + choice.name + ": unknown");
}

LayerCache Attention::make_cache(const KvStorage& storage, const dca::CacheShape& shape, const CacheSize& size) const {
  if (storage.type == KvType::int4 && shape.head_dim % dca::Int4::group != 0) {
    throw Error("--kv-type int4; it needs a head_dim that is a multiple of " + std::to_string(dca::Int4::group) +
                ", the model's is " + std::to_string(shape.head_dim));
  }
  if (inter_.policy != compiled::Policy::all && !has_distant_chunks_) {
    throw Error("--inter: only dca, with any frequencies, and intra+inter have distant chunks to choose from");
  }
  return LayerCache(operator_.attend, inter_, storage, shape, size);
}

compiled::Selection inter_selection(const std::string& text) {
  constexpr Index most_inter_keys = Index{1} << 24;  // as many as a text may have tokens
  if (text == "all") return {};
  const std::size_t colon = text.find(':');
  const char *const last = text.data() + text.size(), *const first =
                                                          colon == text.npos ? last : text.data() + colon + 1;
  Index keys = -1;
  const auto [end, error] = std::from_chars(first, last, keys);
  if (error == std::errc() && end == last && keys >= 0 && keys <= most_inter_keys) {
    constexpr Index most_first = 128;
    const Index sinks = std::min(keys, most_first);
    const std::string policy = text.substr(0, colon);
    if (policy == "recent")
      return {.policy = compiled::Policy::first_and_recent, .first = sinks, .recent = keys - sinks};
    if (policy == "top") return {.policy = compiled::Policy::top_blocks, .keys = keys};
  }
  throw Error("--inter " + printable(text) + "; must be all, recent:N or top:N, with a number of keys up to " +
              std::to_string(most_inter_keys));
}

}  // namespace dca_lm
