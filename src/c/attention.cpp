// Operators and what they are made from.
#include <array>

#include "arguments.hpp"

namespace dca::c {
namespace {

constexpr std::size_t most_parts = 16;

/// The functions of part k of an OwnParts, which is the layout that the library knows.
template <std::size_t k>
struct PartOf {
  static const OwnParts& own(const void* layout) { return *static_cast<const OwnParts*>(layout); }

  static Index query_position(const void* layout, Index i) {
    return own(layout).parts[k].query_position(own(layout).layout, i);
  }
  static Index key_position(const void* layout, Index j) {
    return own(layout).parts[k].key_position(own(layout).layout, j);
  }
  static void keys(const void* layout, Index first, Index count, KeyRange* to) {
    constexpr Index piece = 16;
    dca_key_range ranges[piece];
    for (Index done = 0; done < count; done += piece) {
      const Index more = std::min(piece, count - done);
      own(layout).parts[k].keys(own(layout).layout, first + done, more, ranges);
      for (Index r = 0; r < more; ++r) to[done + r] = {ranges[r].first, ranges[r].last};
    }
  }
};

template <std::size_t... k>
constexpr std::array<PartFunctions, sizeof...(k)> functions_of(std::index_sequence<k...>) {
  return {PartFunctions{PartOf<k>::query_position, PartOf<k>::key_position, PartOf<k>::keys}...};
}
constexpr std::array<PartFunctions, most_parts> part_functions = functions_of(std::make_index_sequence<most_parts>());

std::shared_ptr<const OwnParts> parts_of(const dca_own_parts& given) {
  const std::span<const dca_part> parts = span_of("own_parts", given.parts, given.part_count);
  if (parts.size() > most_parts) fail("own_parts", to_text(parts.size()), "must be at most " + to_text(most_parts));
  for (const dca_part& part : parts) {
    if (part.query_position == nullptr || part.key_position == nullptr || part.keys == nullptr) {
      fail("own_parts", "a null function", "all three must be given");
    }
  }
  return std::make_shared<const OwnParts>(OwnParts{{parts.begin(), parts.end()}, given.layout});
}

compiled::RopeConfig rope_of(const dca_rope_config* config) {
  if (config == nullptr) return {};
  const dca_rope_config given = read_struct("rope", config, DCA_ROPE_CONFIG_INIT);
  if (given.inv_freq != nullptr && given.inv_freq_size == 0) {
    fail("inv_freq", "size 0", "must be at least 1 where inv_freq is given");
  }
  return {
      .rotary_dim = given.rotary_dim,
      .theta = given.theta,
      .pairing = enum_of("rope pairing", given.pairing, RopePairing::interleaved,
                         "must be DCA_ROPE_PAIRING_HALF or DCA_ROPE_PAIRING_INTERLEAVED"),
      .scaling = enum_of("rope scaling", given.scaling, RopeScaling::llama3, "must be a DCA_ROPE_SCALING_..."),
      .factor = given.factor,
      .trained_window = given.trained_window,
      .length = given.length,
      .beta_fast = given.beta_fast,
      .beta_slow = given.beta_slow,
      .low_freq_factor = given.low_freq_factor,
      .high_freq_factor = given.high_freq_factor,
      .attention_factor =
          optional_of("attention_factor", "has_attention_factor", given.has_attention_factor, given.attention_factor),
      .inv_freq = span_of("inv_freq", given.inv_freq, given.inv_freq_size),
  };
}

std::unique_ptr<AttentionObject> make_attention(const dca_attention_config* config) {
  const dca_attention_config given = read_struct("config", config, DCA_ATTENTION_CONFIG_INIT);
  compiled::AttentionConfig made{
      .composition =
          enum_of("composition", given.composition, Composition::inter_chunk, "must be a DCA_COMPOSITION_..."),
      .scalar = dtype_of("scalar", given.scalar),
      .chunks = {.chunk_size = given.chunk_size, .local_window = given.local_window},
      .rope = rope_of(given.rope),
      .softmax_scale = optional_of("softmax_scale", "has_softmax_scale", given.has_softmax_scale, given.softmax_scale),
      .logit_softcap = optional_of("logit_softcap", "has_logit_softcap", given.has_logit_softcap, given.logit_softcap),
  };
  if (given.own_parts == nullptr) {
    return std::unique_ptr<AttentionObject>(new AttentionObject{nullptr, compiled::Attention(made)});
  }
  const dca_own_parts own = read_struct("own_parts", given.own_parts, DCA_OWN_PARTS_INIT);
  std::shared_ptr<const OwnParts> parts = parts_of(own);
  const compiled::OwnParts own_parts{
      .parts = std::span(part_functions).first(parts->parts.size()),
      .layout = parts.get(),
      .share_key_positions = flag_of("share_key_positions", own.share_key_positions),
      .selectable = own.selectable,
  };
  made.own_parts = &own_parts;
  return std::unique_ptr<AttentionObject>(new AttentionObject{std::move(parts), compiled::Attention(made)});
}

/// Writes as many as fit of what `to_try` writes to a span, and how many there are.
template <class F>
dca_status write_sizes(const F& to_try, dca_chunk_config* sizes, std::int64_t capacity, std::int64_t* count) noexcept {
  return guarded([&] {
    check_given("count", count, "must point to where the result goes");
    const std::size_t places = span_of("sizes", sizes, capacity).size();
    std::vector<ChunkConfig> found(static_cast<std::size_t>(to_try(std::span<ChunkConfig>())));
    *count = to_try(std::span(found));
    for (std::size_t k = 0; k < std::min(places, found.size()); ++k) {
      sizes[k] = {found[k].chunk_size, found[k].local_window};
    }
  });
}

}  // namespace
}  // namespace dca::c

using namespace dca::c;

dca_status dca_attention_create(const dca_attention_config* config, dca_attention** attention) {
  return create("attention", attention, [&] { return make_attention(config); });
}

dca_status dca_attention_destroy(dca_attention* attention) { return destroy("attention", attention); }

dca_status dca_position_map(const dca_attention* attention, int64_t first_query, int64_t queries, int64_t first_key,
                            int64_t keys, int64_t* out) {
  return guarded(
      [&] { object_of("attention", attention).attention.position_map(first_query, queries, first_key, keys, out); });
}

dca_status dca_chunk_sizes_to_try(int64_t trained_window, dca_chunk_config* sizes, int64_t capacity, int64_t* count) {
  const auto to_try = [&](auto to) { return dca::compiled::chunk_sizes_to_try(trained_window, to); };
  return write_sizes(to_try, sizes, capacity, count);
}

dca_status dca_local_windows_to_try(int64_t trained_window, int64_t chunk_size, dca_chunk_config* sizes,
                                    int64_t capacity, int64_t* count) {
  const auto to_try = [&](auto to) { return dca::compiled::local_windows_to_try(trained_window, chunk_size, to); };
  return write_sizes(to_try, sizes, capacity, count);
}
