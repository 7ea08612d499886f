// What operators are made from in C: frequencies, compositions, and parts of one's own.
#include "remappings.hpp"
#include "support.hpp"

using namespace dca_test;
using namespace dca_test::c;

namespace {

constexpr dca::ChunkConfig chunks{24, 8};
constexpr Index rotary_dim = 16;
const Eigen::DefaultDevice device;

Inputs<float> problem(Index q_len = 20, Index kv_len = 70, Index heads = 4, Index kv_heads = 2) {
  Random random;
  return Inputs<float>({1, q_len, kv_len, heads, kv_heads, 32, 32}, random);
}

template <class Attention>
Outputs<float> expected_of(const Attention& attention, const Inputs<float>& in) {
  Outputs<float> outputs(in);
  const Operands<float> x = in.operands();
  attention(device, x.query, x.key, x.value, outputs.out_view(), {.lse = outputs.lse_view()});
  return outputs;
}

/// StreamingLLM as a user in C would write it.
struct Streaming {
  int64_t sinks, window;
};
const Streaming& of(const void* layout) { return *static_cast<const Streaming*>(layout); }
int64_t position(const void*, int64_t i) { return i; }
int64_t near_position(const void* layout, int64_t i) { return std::min(i, of(layout).sinks + of(layout).window - 1); }
void sink_keys(const void* layout, int64_t first, int64_t count, dca_key_range* ranges) {
  for (int64_t k = 0; k < count; ++k) {
    ranges[k] = {0, std::min(of(layout).sinks, std::max<int64_t>(0, first + k - of(layout).window + 1))};
  }
}
void recent_keys(const void* layout, int64_t first, int64_t count, dca_key_range* ranges) {
  for (int64_t k = 0; k < count; ++k) {
    ranges[k] = {std::max<int64_t>(0, first + k - of(layout).window + 1), first + k + 1};
  }
}
constexpr dca_part streaming_parts[] = {{near_position, position, sink_keys}, {position, position, recent_keys}};

}  // namespace

TEST_CASE("C: every scaling of frequencies, and frequencies of one's own") {
  const Inputs<float> in = problem();
  Config config(chunks, rotary_dim, DCA_FLOAT32);
  dca_rope_config& rope = config.rope;
  const auto check = [&](const dca::RopeFrequencies& frequencies) {
    const dca::DualChunkAttention<float> templated({.chunks = chunks, .rope = dca::RotaryEmbedding(frequencies)});
    INFO("scaling " << rope.scaling);
    CHECK(same_bits(run_dense(config.make(), in, DCA_OPTIONS_INIT), expected_of(templated, in)));
  };
  rope.theta = 5000;
  check(dca::plain_frequencies(rotary_dim, 5000));
  rope.scaling = DCA_ROPE_SCALING_LINEAR;
  rope.factor = 3;
  check(dca::linear_frequencies(rotary_dim, 5000, 3));
  rope.scaling = DCA_ROPE_SCALING_NTK;
  check(dca::ntk_frequencies(rotary_dim, 5000, 3));
  rope.scaling = DCA_ROPE_SCALING_DYNAMIC_NTK;
  rope.trained_window = 50;
  rope.length = 200;
  check(dca::dynamic_ntk_frequencies(rotary_dim, 5000, {.factor = 3, .trained_window = 50, .length = 200}));
  rope.scaling = DCA_ROPE_SCALING_YARN;
  rope.beta_fast = 20;
  rope.beta_slow = 2;
  check(dca::yarn_frequencies(rotary_dim, 5000, {.factor = 3, .trained_window = 50, .beta_fast = 20, .beta_slow = 2}));
  rope.has_attention_factor = 1;
  rope.attention_factor = 1.25;
  check(dca::yarn_frequencies(
      rotary_dim, 5000,
      {.factor = 3, .trained_window = 50, .beta_fast = 20, .beta_slow = 2, .attention_factor = 1.25}));
  rope.has_attention_factor = 0;
  rope.attention_factor = 0;
  rope.scaling = DCA_ROPE_SCALING_LLAMA3;
  rope.low_freq_factor = 1.5;
  rope.high_freq_factor = 3;
  check(dca::llama3_frequencies(rotary_dim, 5000,
                                {.factor = 3, .low_freq_factor = 1.5, .high_freq_factor = 3, .trained_window = 50}));
  const std::vector<double> own{1.0, 0.3, 0.02};
  rope.inv_freq = own.data();
  rope.inv_freq_size = 3;
  check({.inv_freq = own});
}

TEST_CASE("C: plain causal attention needs no chunks, and none turns without an embedding") {
  const Inputs<float> in = problem();
  dca_attention_config config = DCA_ATTENTION_CONFIG_INIT;
  config.composition = DCA_COMPOSITION_CAUSAL;
  dca_attention* made = nullptr;
  ok(dca_attention_create(&config, &made));
  const dca::CausalAttention<float> templated({.rope = dca::RotaryEmbedding({})});
  CHECK(same_bits(run_dense(AttentionHandle(made), in, DCA_OPTIONS_INIT), expected_of(templated, in)));
}

TEST_CASE("C: parts of one's own, and caches that outlive their operator") {
  const Inputs<float> in = problem(200, 300, 1, 1);
  const Streaming layout{4, 16};
  Config config({}, rotary_dim, DCA_FLOAT32);
  dca_own_parts own = DCA_OWN_PARTS_INIT;
  own.parts = streaming_parts;
  own.part_count = 2;
  own.layout = &layout;
  own.share_key_positions = 1;
  config.attention.own_parts = &own;
  AttentionHandle attention = config.make();

  using Templated = dca::ComposedAttention<float, remappings::SinkTokens, remappings::RecentTokens>;
  const Templated templated({.chunks = {4, 16}, .rope = make_ropes(rotary_dim).library});
  const Outputs<float> expected = expected_of(templated, in);
  CHECK(same_bits(run_dense(attention, in, DCA_OPTIONS_INIT), expected));

  const dca_cache_config shape = cache_config<float>(in.sizes);
  dca_cache* made = nullptr;
  ok(dca_cache_create(attention.get(), &shape, 1, 300, 0, &made));
  const CacheHandle cache(made);
  const AttentionHandle alike = config.make();
  const auto attend = [&](const AttentionHandle& by) {
    const dca_const_tensor query = tensor(in.operands().query);
    Outputs<float> outputs(in);
    const dca_tensor out = tensor(outputs.out_view());
    const dca_status status = dca_attend_cache(by.get(), nullptr, &query, made, &out, nullptr);
    return std::pair(status, outputs.out);
  };
  const dca_const_tensor key = tensor(in.operands().key), value = tensor(in.operands().value);
  ok(dca_cache_append_all(made, nullptr, &key, &value));
  CHECK(attend(attention) == std::pair(DCA_OK, expected.out));
  CHECK(attend(alike).first == DCA_INVALID_ARGUMENT);
  attention.reset();
  ok(dca_cache_truncate(made, 0, 0));
  ok(dca_cache_append_all(made, nullptr, &key, &value));  // still places keys by the functions of the parts
  CHECK(attend(alike).first == DCA_INVALID_ARGUMENT);
}

TEST_CASE("C: a map of positions") {
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  constexpr Index first_query = 40, queries = 30, first_key = 10, keys = 50;
  std::vector<int64_t> map(queries * keys), expected(queries * keys, DCA_UNSEEN);
  ok(dca_position_map(attention.get(), first_query, queries, first_key, keys, map.data()));
  const auto draw = [&]<class Part>(Part) {
    for (Index row = 0; row < queries; ++row) {
      const dca::KeyRange seen = Part::keys(chunks, first_query + row);
      for (Index j = std::max(seen.first, first_key); j < std::min(seen.last, first_key + keys); ++j) {
        expected[static_cast<std::size_t>(row * keys + j - first_key)] =
            Part::query_position(chunks, first_query + row) - Part::key_position(chunks, j);
      }
    }
  };
  draw(dca::InterChunk{});
  draw(dca::SuccessiveChunk{});
  draw(dca::IntraChunk{});
  CHECK(map == expected);
  ok(dca_position_map(attention.get(), 0, 0, 0, 5, nullptr));
}

TEST_CASE("C: sizes to try") {
  const auto check = [](const std::vector<dca::ChunkConfig>& expected, const auto& to_try) {
    int64_t count = 0;
    ok(to_try(nullptr, 0, &count));
    REQUIRE(count == std::ssize(expected));
    std::vector<dca_chunk_config> sizes(expected.size() + 1, {-7, -7});
    for (const Index capacity : {Index{2}, count, count + 1}) {
      ok(to_try(sizes.data(), capacity, &count));
      CHECK(count == std::ssize(expected));
      for (std::size_t k = 0; k < sizes.size(); ++k) {
        const bool written = k < expected.size() && static_cast<Index>(k) < capacity;
        if (!written && capacity > 2 && k < expected.size()) continue;
        CHECK(sizes[k].chunk_size == (written ? expected[k].chunk_size : -7));
        CHECK(sizes[k].local_window == (written ? expected[k].local_window : -7));
      }
    }
  };
  check(dca::chunk_sizes_to_try(4096), [](auto... to) { return dca_chunk_sizes_to_try(4096, to...); });
  check(dca::local_windows_to_try(4096, 1000), [](auto... to) { return dca_local_windows_to_try(4096, 1000, to...); });
}

TEST_CASE("C: versions and kernels") {
  CHECK(std::string(dca_version()) == DCA_VERSION_STRING);
  CHECK(std::string(DCA_VERSION_STRING) == DCA_TEST_VERSION);
  CHECK(std::string(DCA_VERSION_STRING) == std::to_string(DCA_VERSION_MAJOR) + '.' + std::to_string(DCA_VERSION_MINOR) +
                                               '.' + std::to_string(DCA_VERSION_PATCH));
  dca_kernels kernels = DCA_KERNELS_INIT;
  ok(dca_kernels_in_use(&kernels));
  CHECK(std::string(kernels.instruction_set) == dca::kernel_info().instruction_set);
  CHECK(kernels.float_packet_size == dca::kernel_info().float_packet_size);
  CHECK(kernels.double_packet_size == dca::kernel_info().double_packet_size);
}

TEST_CASE("C: densely packed tensors") {
  std::vector<float> memory(24);
  const int64_t shape[] = {2, 3, 4};
  dca_tensor made = DCA_NO_TENSOR;
  ok(dca_contiguous(memory.data(), DCA_FLOAT32, 3, shape, &made));
  CHECK(made.data == memory.data());
  CHECK((made.dtype == DCA_FLOAT32 && made.rank == 3));
  CHECK(std::vector<int64_t>(made.shape, made.shape + 4) == std::vector<int64_t>{2, 3, 4, 0});
  CHECK(std::vector<int64_t>(made.strides, made.strides + 4) == std::vector<int64_t>{12, 4, 1, 0});
  for (int32_t rank = 0; rank <= 4; ++rank) {
    const int64_t sizes[] = {5, 4, 3, 2};
    dca_const_tensor read = DCA_NO_TENSOR;
    ok(dca_contiguous_const(memory.data(), DCA_FLOAT64, rank, rank > 0 ? sizes : nullptr, &read));
    CHECK((read.rank == rank && (rank == 0 || read.strides[rank - 1] == 1)));
  }
}
