// What can go wrong in C: each call refused with a status and a message, and with nothing changed.
#include "support.hpp"
#include "support/sanitized.hpp"

using namespace dca_test;
using namespace dca_test::c;

namespace {

constexpr dca::ChunkConfig chunks{24, 8};
constexpr Index rotary_dim = 16;
const Eigen::DefaultDevice device;
constexpr int64_t huge = std::numeric_limits<int64_t>::max();

void check_refused(dca_status status, const std::string& message) {
  CHECK(status == DCA_INVALID_ARGUMENT);
  CHECK_THAT(std::string(dca_last_error()), contains(message));
}

/// The template throws, and the call in C says the same.
template <class F>
void check_same_words(dca_status status, const F& templated) {
  const std::string words = dca_last_error();
  CHECK(status == DCA_INVALID_ARGUMENT);
  try {
    templated();
    FAIL("nothing was thrown; in C: " << words);
  } catch (const std::invalid_argument& error) {
    CHECK(words == error.what());
  }
}

/// An operator, with one of every handle that it makes, and a problem.
struct World {
  Random random;
  Inputs<float> in{{1, 9, 60, 4, 2, 32, 32}, random};
  Outputs<float> outputs{in};
  dca::DualChunkAttention<float> templated = make_chunked<dca::DualChunkAttention<float>>(chunks, rotary_dim);
  AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  dca_cache_config config = cache_config<float>(in.sizes);
  dca_const_tensor query = tensor(in.operands().query), key = tensor(in.operands().key),
                   value = tensor(in.operands().value);
  dca_tensor out = tensor(outputs.out_view());
  dca_options options = DCA_OPTIONS_INIT;
  CacheHandle cache;
  PagedCacheHandle paged;
  PoolHandle pool;
  ThreadsHandle threads;
  WorkspaceHandle workspace;
  ChoicesHandle choices;

  World() {
    dca_cache* c = nullptr;
    dca_paged_cache* g = nullptr;
    dca_pool* p = nullptr;
    dca_threads* t = nullptr;
    dca_workspace* w = nullptr;
    dca_choices* h = nullptr;
    ok(dca_cache_create(attention.get(), &config, 1, 60, 0, &c));
    ok(dca_paged_cache_create(attention.get(), &config, 20, 4, &g));
    ok(dca_pool_create(attention.get(), &config, 20, 4, &p));
    ok(dca_threads_create(1, &t));
    ok(dca_workspace_create(&w));
    ok(dca_choices_create(&h));
    cache.reset(c), paged.reset(g), pool.reset(p), threads.reset(t), workspace.reset(w), choices.reset(h);
    ok(dca_cache_append_all(c, nullptr, &key, &value));
  }

  dca_status attend() { return dca_attend(attention.get(), nullptr, &query, &key, &value, &out, &options); }
  /// The call by templates, with `options` for both.
  auto templated_call(dca::CallOptions<float> with = {}) {
    return [this, with] {
      const Operands<float> x = in.operands();
      templated(device, x.query, x.key, x.value, outputs.out_view(), with);
    };
  }
};

template <class Change>
dca_status make_with(const Change& change, dca::ChunkConfig with = chunks) {
  Config config(with, rotary_dim, DCA_FLOAT32);
  change(config);
  auto* made = reinterpret_cast<dca_attention*>(&config);
  const dca_status status = dca_attention_create(&config.attention, &made);
  CHECK(made == nullptr);
  return status;
}

}  // namespace

TEST_CASE("C: an operator that cannot be is refused in the words of the templates") {
  const auto templated = [](dca::ChunkConfig with, const dca::AttentionConfig<dca::ChunkLayout>& config) {
    return [=] {
      auto changed = config;
      changed.chunks = dca::ChunkLayout(with);
      const dca::DualChunkAttention<float> made(changed);
    };
  };
  const dca::AttentionConfig<dca::ChunkLayout> plain{.chunks = chunks, .rope = make_ropes(rotary_dim).library};
  auto scaled = plain, capped = plain;
  check_same_words(make_with([](auto&) {}, {8, 8}), templated({8, 8}, plain));
  check_same_words(make_with([](auto&) {}, {0, -1}), templated({0, -1}, plain));
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), 1e300}) {
    const auto scale = [&](Config& c) { c.attention.has_softmax_scale = 1, c.attention.softmax_scale = bad; };
    scaled.softmax_scale = bad;
    check_same_words(make_with(scale), templated(chunks, scaled));
  }
  for (const double bad : {std::nan(""), -1.0, 0.0}) {
    const auto cap = [&](Config& c) { c.attention.has_logit_softcap = 1, c.attention.logit_softcap = bad; };
    capped.logit_softcap = bad;
    check_same_words(make_with(cap), templated(chunks, capped));
  }
  check_same_words(make_with([](auto& c) { c.rope.rotary_dim = 15; }), [] { dca::plain_frequencies(15, 10000.0); });
  check_same_words(make_with([](auto& c) { c.rope.theta = std::nan(""); }),
                   [] { dca::plain_frequencies(rotary_dim, std::nan("")); });
  const auto yarn = [](Config& c) { c.rope.scaling = DCA_ROPE_SCALING_YARN, c.rope.trained_window = -3; };
  check_same_words(make_with(yarn), [] { dca::yarn_frequencies(rotary_dim, 1e4, {.trained_window = -3}); });
  const auto factor = [](Config& c) { c.rope.has_attention_factor = 1, c.rope.attention_factor = std::nan(""); };
  check_same_words(make_with(factor),
                   [] { const dca::RotaryEmbedding made({.inv_freq = {1}, .attention_factor = std::nan("")}); });
  const double infinite[] = {std::numeric_limits<double>::infinity()};
  const auto own = [&](Config& c) { c.rope.inv_freq = infinite, c.rope.inv_freq_size = 1; };
  check_same_words(make_with(own), [&] { const dca::RotaryEmbedding made({.inv_freq = {infinite[0]}}); });
}

TEST_CASE("C: an operator's numbers without a flag, flags and enumerations out of range") {
  const auto refused = [](const std::string& message, const auto& change) {
    check_refused(make_with(change), message);
  };
  refused("dca: softmax_scale: 0.5 without its flag; has_softmax_scale must be 1 for it to be read",
          [](auto& c) { c.attention.softmax_scale = 0.5; });
  refused("softmax_scale: nan without its flag", [](auto& c) { c.attention.softmax_scale = std::nan(""); });
  refused("logit_softcap: nan without its flag", [](auto& c) { c.attention.logit_softcap = std::nan(""); });
  refused("attention_factor: 2 without its flag", [](auto& c) { c.rope.attention_factor = 2; });
  refused("has_softmax_scale: 2; must be 0 or 1", [](auto& c) { c.attention.has_softmax_scale = 2; });
  refused("has_logit_softcap: -1; must be 0 or 1", [](auto& c) { c.attention.has_logit_softcap = -1; });
  refused("has_attention_factor: 7; must be 0 or 1", [](auto& c) { c.rope.has_attention_factor = 7; });
  for (const int32_t bad : {-1, 5, 0x7fffffff}) {
    refused("composition: " + std::to_string(bad), [&](auto& c) { c.attention.composition = bad; });
  }
  refused("scalar: dtype 0; must be DCA_FLOAT32,", [](auto& c) { c.attention.scalar = DCA_DTYPE_NONE; });
  refused("scalar: dtype 9; must be DCA_FLOAT32,", [](auto& c) { c.attention.scalar = 9; });
  refused("scalar:", [](auto& c) { c.attention.scalar = DCA_FLOAT16; });
  refused("rope pairing: 2; must be", [](auto& c) { c.rope.pairing = 2; });
  refused("rope scaling: 6; must be", [](auto& c) { c.rope.scaling = 6; });
  refused("rope scaling: -1; must be", [](auto& c) { c.rope.scaling = -1; });
  refused("inv_freq: NULL; must point to 3 elements", [](auto& c) { c.rope.inv_freq_size = 3; });
  refused("inv_freq: size -3", [](auto& c) { c.rope.inv_freq_size = -3; });
  const double one = 1;
  refused("inv_freq: size 0", [&](auto& c) { c.rope.inv_freq = &one; });
}

TEST_CASE("C: parts of one's own that cannot be are refused") {
  const dca_part part{[](const void*, int64_t i) { return i; }, [](const void*, int64_t j) { return j; },
                      [](const void*, int64_t, int64_t, dca_key_range*) {}};
  std::vector<dca_part> parts(17, part);
  const auto refused = [&](const std::string& message, const auto& change) {
    dca_own_parts own = DCA_OWN_PARTS_INIT;
    own.parts = parts.data();
    own.part_count = 2;
    change(own);
    check_refused(make_with([&](auto& c) { c.attention.own_parts = &own; }), message);
  };
  refused("own_parts: none; must be at least 1", [](auto& own) { own.part_count = 0; });
  refused("own_parts: 17; must be at most 16", [](auto& own) { own.part_count = 17; });
  refused("own_parts: size -1", [](auto& own) { own.part_count = -1; });
  refused("own_parts: NULL; must point to 2 elements", [](auto& own) { own.parts = nullptr; });
  refused("share_key_positions: 3; must be 0 or 1", [](auto& own) { own.share_key_positions = 3; });
  refused("selectable: 2; must be", [](auto& own) { own.selectable = 2; });
  for (const int missing : {0, 1, 2}) {
    parts[1] = part;
    if (missing == 0) parts[1].query_position = nullptr;
    if (missing == 1) parts[1].key_position = nullptr;
    if (missing == 2) parts[1].keys = nullptr;
    refused("own_parts: a null function; all three must be given", [](auto&) {});
  }
}

TEST_CASE("C: calls that cannot be are refused in the words of the templates") {
  World w;
  const Outputs<float> before = w.outputs;
  w.options.has_q_offset = 1;
  w.options.q_offset = 52;
  check_same_words(w.attend(), w.templated_call({.q_offset = 52}));
  w.options = DCA_OPTIONS_INIT;

  const std::vector<float> sinks(3);
  w.options.sink_logits = read(dca::contiguous(sinks.data(), {3}));
  check_same_words(w.attend(), w.templated_call({.sink_logits = sinks}));
  w.options = DCA_OPTIONS_INIT;

  const auto short_lse = dca::contiguous(w.outputs.lse.data(), {1, 8, 4});
  w.options.lse = tensor(short_lse);
  check_same_words(w.attend(), w.templated_call({.lse = short_lse}));
  const auto same_memory = dca::contiguous(w.outputs.out.data(), w.in.lse_shape());
  w.options.lse = tensor(same_memory);
  check_same_words(w.attend(), w.templated_call({.lse = same_memory}));
  w.options = DCA_OPTIONS_INIT;

  const std::vector<Index> falls{0, 5, 4, 9}, rows{0, 9};
  w.options.cu_seqlens = falls.data();
  w.options.cu_seqlens_size = 4;
  check_same_words(w.attend(), w.templated_call({.cu_seqlens = falls}));
  w.options = DCA_OPTIONS_INIT;

  w.options.key_cu_seqlens = falls.data();
  w.options.key_cu_seqlens_size = 4;
  const Operands<float> x = w.in.operands();
  check_same_words(w.attend(), [&] { const dca::RaggedKeyValues made(x.key, x.value, falls); });
  w.options = DCA_OPTIONS_INIT;

  for (const auto& [index, bad] : {std::pair{0, Index{-1}}, {1, Index{0}}, {2, Index{3}}, {3, huge}}) {
    auto query = x.query;
    query.shape[index] = w.query.shape[index] = bad;
    check_same_words(w.attend(), [&] { w.templated(device, query, x.key, x.value, w.outputs.out_view()); });
    w.query = tensor(x.query);
  }
  auto strided = x.key;
  strided.strides[3] = w.key.strides[3] = 2;
  check_same_words(w.attend(), [&] { w.templated(device, x.query, strided, x.value, w.outputs.out_view()); });
  w.key = tensor(x.key);

  w.value.data = nullptr;
  auto no_data = x.value;
  no_data.data = nullptr;
  check_same_words(w.attend(), [&] { w.templated(device, x.query, x.key, no_data, w.outputs.out_view()); });
  w.value = DCA_NO_TENSOR;
  check_same_words(w.attend(),
                   [&] { w.templated(device, x.query, x.key, dca::TensorView<const float>(), w.outputs.out_view()); });
  w.value = tensor(x.value);

  dca_selection selection = DCA_SELECTION_INIT;
  w.options.selection = &selection;
  const auto select_by = [&](const auto& policy) {
    return [&, policy] { w.templated(device, x.query, x.key, x.value, w.outputs.out_view(), {}, policy); };
  };
  selection.policy = DCA_POLICY_TOP_BLOCKS;
  check_same_words(w.attend(), select_by(dca::TopBlocks{}));
  selection.keys = 8;
  selection.trust_in_bound = std::nan("");
  check_same_words(w.attend(), select_by(dca::TopBlocks{.keys = 8, .trust_in_bound = std::nan("")}));
  selection.policy = DCA_POLICY_FIRST_AND_RECENT;
  check_same_words(w.attend(), select_by(dca::FirstAndRecent{}));
  selection.policy = 3;
  check_refused(w.attend(), "selection policy: 3; must be DCA_POLICY_ALL,");
  CHECK(same_bits(w.outputs, before));
}

TEST_CASE("C: what a call's options cannot be is refused") {
  World w;
  const auto refused = [&](const std::string& message, const auto& change) {
    w.options = DCA_OPTIONS_INIT;
    change(w.options);
    check_refused(w.attend(), message);
  };
  const int64_t numbers[] = {0, 9};
  const double double_sinks[4] = {};
  refused("q_offset: 5 without its flag; has_q_offset must be 1", [](auto& o) { o.q_offset = 5; });
  refused("has_q_offset: 2; must be 0 or 1", [](auto& o) { o.has_q_offset = 2; });
  refused("cu_seqlens: NULL; must point to 2 elements", [](auto& o) { o.cu_seqlens_size = 2; });
  refused("cu_seqlens: size -2; must be at least 0", [&](auto& o) { o.cu_seqlens = numbers, o.cu_seqlens_size = -2; });
  refused("key_cu_seqlens: NULL; must point to 2 elements", [](auto& o) { o.key_cu_seqlens_size = 2; });
  refused("sequences: NULL; must point to 1 elements", [](auto& o) { o.sequence_count = 1; });
  refused("sequences:", [&](auto& o) { o.sequences = numbers, o.sequence_count = 1; });  // tensors have none
  refused("lse: dtype 0; must be DCA_FLOAT32,", [&](auto& o) { o.lse = w.out, o.lse.dtype = DCA_DTYPE_NONE; });
  refused("sink_logits:", [&](auto& o) { o.sink_logits = read(dca::contiguous(double_sinks, {4})); });
  refused("skipped: rank 5; must be from 0 to 4", [&](auto& o) { o.skipped = w.out, o.skipped.rank = 5; });
  for (const int32_t bad : {-1, 7, 1000}) {
    w.query.dtype = bad;
    refused("query: dtype " + std::to_string(bad) + "; must be DCA_FLOAT32,", [](auto&) {});
    w.query = tensor(w.in.operands().query);
  }
  for (const int32_t bad : {-1, 5, 0x7fffffff}) {
    w.out.rank = bad;
    refused("out: rank " + std::to_string(bad), [](auto&) {});
    w.out = tensor(w.outputs.out_view());
  }
  w.key.dtype = DCA_INT8;
  refused("key: ", [](auto&) {});
}

TEST_CASE("C: caches and pools refuse in the words of the templates") {
  World w;
  const Operands<float> x = w.in.operands();
  const dca::CacheShape shape = cache_shape(w.in.sizes);
  auto cache = w.templated.make_cache<float>(shape, 1, {.tokens = 60});
  cache.append(device, x.key, x.value);
  auto paged = w.templated.make_paged_cache<float>(shape, 20, 4);
  dca::BlockPool<float> pool(w.templated.placed_keys(), shape, 20, 4);

  dca_cache_config config = w.config;
  auto* made = reinterpret_cast<dca_cache*>(&config);
  check_same_words(dca_cache_create(w.attention.get(), &config, 0, 60, 0, &made),
                   [&] { w.templated.make_cache<float>(shape, 0, {.tokens = 60}); });
  CHECK(made == nullptr);
  check_same_words(dca_cache_create(w.attention.get(), &config, 1, huge, 0, &made),
                   [&] { w.templated.make_cache<float>(shape, 1, {.tokens = huge}); });
  check_refused(dca_cache_create(w.attention.get(), &config, 1, 60, 2, &made), "grows: 2; must be 0 or 1");
  config.key_dtype = DCA_INT4;
  config.head_dim = 30;
  check_same_words(dca_cache_create(w.attention.get(), &config, 1, 60, 0, &made), [&] {
    w.templated.make_cache<dca::Int4>({2, 30, 32}, 1, {.tokens = 60});
  });
  config.key_dtype = DCA_DTYPE_NONE;
  check_refused(dca_cache_create(w.attention.get(), &config, 1, 60, 0, &made), "key_dtype: dtype 0; must be");
  config.key_dtype = DCA_FLOAT32;
  config.value_dtype = 9;
  check_refused(dca_cache_create(w.attention.get(), &config, 1, 60, 0, &made), "value_dtype: dtype 9; must be");

  check_same_words(dca_cache_append(w.cache.get(), nullptr, 0, &w.key, &w.value),
                   [&] { cache.append(device, 0, x.key, x.value); });
  check_same_words(dca_cache_append(w.cache.get(), nullptr, 1, &w.key, &w.value),
                   [&] { cache.append(device, 1, x.key, x.value); });
  check_same_words(dca_cache_append_all(w.cache.get(), nullptr, &w.query, &w.value),
                   [&] { cache.append(device, x.query, x.value); });
  check_same_words(dca_cache_truncate(w.cache.get(), 0, 61), [&] { cache.truncate(0, 61); });
  check_same_words(dca_cache_copy_prefix(w.cache.get(), 0, 0, 1), [&] { cache.copy_prefix(0, 0, 1); });
  int64_t number = -7;
  w.options.sequences = &number;  // of which there are none
  check_same_words(dca_attend_cache(w.attention.get(), nullptr, &w.query, w.cache.get(), &w.out, &w.options),
                   [&] { w.templated(device, x.query, cache.view(std::span<const Index>()), w.outputs.out_view()); });
  check_same_words(dca_cache_length(w.cache.get(), 5, &number), [&] { static_cast<void>(cache.length(5)); });
  CHECK(number == -7);

  check_same_words(dca_paged_cache_fork(w.paged.get(), 0, &number), [&] { paged.fork(0); });
  check_same_words(dca_paged_cache_remove(w.paged.get(), 0), [&] { paged.remove(0); });
  check_same_words(dca_paged_cache_length(w.paged.get(), -1, &number), [&] { static_cast<void>(paged.length(-1)); });
  check_same_words(dca_paged_cache_append(w.paged.get(), nullptr, 3, &w.key, &w.value),
                   [&] { paged.append(device, 3, x.key.entry(0), x.value.entry(0)); });
  check_refused(dca_attend_paged_cache(w.attention.get(), nullptr, &w.query, w.paged.get(), &w.out, nullptr),
                "sequences: not given");

  check_same_words(dca_pool_share(w.pool.get(), 0), [&] { pool.share(0); });
  check_same_words(dca_pool_give_back(w.pool.get(), 20), [&] { pool.give_back(20); });
  check_same_words(dca_pool_users(w.pool.get(), -1, &number), [&] { static_cast<void>(pool.users(-1)); });
  check_same_words(dca_pool_copy_tokens(w.pool.get(), 0, 1, 1), [&] { pool.copy_tokens(0, 1, 1); });
  const std::vector<Index> blocks{0, 1};
  const std::vector<dca::BlockTable> tables{{blocks, 0}};
  dca_block_table table{blocks.data(), 2, 0};
  check_same_words(dca_pool_append(w.pool.get(), nullptr, &table, 1, &w.key, &w.value),
                   [&] { pool.append(device, std::span(tables), x.key, x.value); });
  check_refused(dca_pool_append(w.pool.get(), nullptr, nullptr, 1, &w.key, &w.value), "tables: NULL; must point to 1");
  check_refused(dca_attend_pool(w.attention.get(), nullptr, &w.query, w.pool.get(), &table, -1, &w.out, nullptr),
                "tables: size -1");
  table.blocks = nullptr;
  check_refused(dca_pool_append(w.pool.get(), nullptr, &table, 1, &w.key, &w.value),
                "block_table: NULL; must point to 2");
  for (int k = 0; k < 20; ++k) {
    ok(dca_pool_take(w.pool.get(), &number));
    pool.take();
  }
  check_same_words(dca_pool_take(w.pool.get(), &number), [&] { pool.take(); });
}

TEST_CASE("C: key offsets that cannot be are refused, with nothing changed") {
  World w;
  const Operands<float> x = w.in.operands();
  auto cache = w.templated.make_cache<float>(cache_shape(w.in.sizes), 1, {.tokens = 60});
  const std::vector<float> numbers = w.random.normal<float>(128, 4.0);
  const auto right = dca::contiguous(numbers.data(), {2, 32});
  dca_cache* empty = nullptr;
  ok(dca_cache_create(w.attention.get(), &w.config, 1, 60, 0, &empty));
  const CacheHandle keeps(empty);
  const dca_const_tensor offset = tensor(right);
  ok(dca_cache_set_key_offset(empty, &offset));
  ok(dca_paged_cache_set_key_offset(w.paged.get(), &offset));
  ok(dca_pool_set_key_offset(w.pool.get(), &offset));
  cache.set_key_offset(right);

  const auto check_each = [&](const dca_const_tensor& wrong, const auto& check) {
    check(dca_cache_set_key_offset(empty, &wrong));
    check(dca_paged_cache_set_key_offset(w.paged.get(), &wrong));
    check(dca_pool_set_key_offset(w.pool.get(), &wrong));
  };
  auto bad = numbers;
  bad[7] = std::nanf("");
  const dca::TensorView<const float> wrong[] = {dca::contiguous(numbers.data(), {64}),
                                                dca::contiguous(numbers.data(), {1, 2, 32}),
                                                dca::contiguous(numbers.data(), {4, 32}),
                                                dca::contiguous(numbers.data(), {2, 31}),
                                                dca::contiguous(std::as_const(bad).data(), {2, 32}),
                                                {nullptr, {2, 32}, {32, 1}},
                                                {numbers.data(), {2, 32}, {1, 2}}};
  for (const auto& view : wrong) {
    check_each(tensor(view), [&](dca_status status) {
      CHECK_THAT(std::string(dca_last_error()), contains("dca: key_offset: "));
      check_same_words(status, [&] { cache.set_key_offset(view); });
    });
  }
  const auto check_refused_each = [&](const std::string& message, const auto& change) {
    dca_const_tensor changed = offset;
    change(changed);
    check_each(changed, [&](dca_status status) { check_refused(status, message); });
  };
  check_refused_each("dca: key_offset: int8; must be that of a number", [](auto& t) { t.dtype = DCA_INT8; });
  check_refused_each("dca: key_offset: dtype 0; must be DCA_FLOAT32,", [](auto& t) { t.dtype = DCA_DTYPE_NONE; });
  check_refused_each("dca: key_offset: dtype 9; must be DCA_FLOAT32,", [](auto& t) { t.dtype = 9; });
  check_refused_each("dca: key_offset: rank 5; must be from 0 to 4", [](auto& t) { t.rank = 5; });

  // The offset that was taken is still there; after tokens, or with a block taken, no other is.
  cache.append(device, x.key, x.value);
  ok(dca_cache_append_all(empty, nullptr, &w.key, &w.value));
  const auto other = dca::contiguous(numbers.data() + 64, {2, 32});
  const dca_const_tensor late = tensor(other);
  check_same_words(dca_cache_set_key_offset(empty, &late), [&] { cache.set_key_offset(other); });
  int64_t sequence = -1, block = -1;
  ok(dca_paged_cache_add(w.paged.get(), &sequence));
  ok(dca_paged_cache_append(w.paged.get(), nullptr, sequence, &w.key, &w.value));
  check_refused(dca_paged_cache_set_key_offset(w.paged.get(), &late),
                "dca: key_offset: given with 15 blocks in use; must be given before the first token");
  ok(dca_pool_take(w.pool.get(), &block));
  check_refused(dca_pool_set_key_offset(w.pool.get(), &late),
                "dca: key_offset: given with 1 blocks in use; must be given before the first token");
  const Outputs<float> expected = run_on(w.templated, w.in, cache.view());
  const auto on_cache = [&](const auto* query, const auto* out, const auto* with) {
    return dca_attend_cache(w.attention.get(), nullptr, query, empty, out, with);
  };
  CHECK(same_bits(c::run(w.in, DCA_OPTIONS_INIT, on_cache), expected));
  dca_options options = DCA_OPTIONS_INIT;
  options.sequences = &sequence;
  options.sequence_count = 1;
  const auto on_pages = [&](const auto* query, const auto* out, const auto* with) {
    return dca_attend_paged_cache(w.attention.get(), nullptr, query, w.paged.get(), out, with);
  };
  CHECK(same_bits(c::run(w.in, options, on_pages), expected));

  // The pool's, by tokens of a pool with another.
  dca_pool* second = nullptr;
  ok(dca_pool_create(w.attention.get(), &w.config, 20, 4, &second));
  const PoolHandle keeps_second(second);
  ok(dca_pool_set_key_offset(second, &late));
  ok(dca_pool_take(second, &block));
  check_refused(dca_pool_copy_tokens_from(second, w.pool.get(), 0, block, 0),
                "dca: other: holds keys less another offset; must have the key offset of this pool");
  ok(dca_pool_give_back(second, block));
  ok(dca_pool_set_key_offset(second, &offset));
  ok(dca_pool_take(second, &block));
  ok(dca_pool_copy_tokens_from(second, w.pool.get(), 0, block, 0));
}

TEST_CASE("C: keys and options that give no key offset are refused") {
  const World w;
  std::vector<float> offset(64, -7.0F);
  const std::vector<float> untouched = offset;
  const auto refused = [&](const std::string& message, dca_const_tensor key, const dca_key_offset_options& options,
                           int64_t size = 64) {
    check_refused(dca_estimate_key_offset(w.attention.get(), &key, &options, offset.data(), size), message);
  };
  const dca_key_offset_options plain = DCA_KEY_OFFSET_OPTIONS_INIT;
  const auto with = [&](int64_t most_pairs, double stands_out) {
    dca_key_offset_options options = plain;
    options.most_pairs = most_pairs;
    options.stands_out = stands_out;
    return options;
  };
  refused("dca: most_pairs: -1; must be at least 0", w.key, with(-1, 2));
  refused("dca: stands_out: nan; must be at least 0", w.key, with(8, std::nan("")));
  refused("dca: stands_out: -1; must be at least 0", w.key, with(8, -1));
  for (const int64_t size : {0, 63, 65}) {
    refused("dca: key_offset: size " + std::to_string(size) + "; must be kv_heads times head_dim, 64", w.key, plain,
            size);
  }
  refused("dca: key_offset: size -64; must be at least 0", w.key, plain, -64);
  dca_const_tensor key = w.key;
  key.rank = 2;
  refused("dca: key: rank 2 with 2 strides; must be 4, or 3 without a batch", key, plain);
  key = w.key;
  key.shape[1] = 0;
  refused("dca: key: no tokens; must be at least 1", key, plain);
  key = w.key;
  key.shape[3] = 8;
  refused("dca: rotary_dim: 16; must be at most head_dim, 8", key, plain);
  key = w.key;
  key.data = nullptr;
  refused("dca: key: no data; must point to", key, plain);
  key = w.key;
  key.dtype = DCA_INT4;
  refused("dca: key: int4; must be that of a number", key, plain);
  check_refused(dca_estimate_key_offset(w.attention.get(), &w.key, &plain, nullptr, 64),
                "dca: key_offset: NULL; must point to 64 elements");
  CHECK(same_bits(offset, untouched));
}

TEST_CASE("C: merges, maps, sizes, tensors and choices refuse") {
  World w;
  std::vector<float> lse(9 * 4);
  w.options.lse = tensor(dca::contiguous(lse.data(), w.in.lse_shape()));
  ok(w.attend());
  dca_const_partial_state state{read(w.outputs.out_view()), read(dca::contiguous(lse.data(), w.in.lse_shape()))};
  Outputs<float> merged(w.in);
  const Outputs<float> before = merged;
  dca_partial_state result{tensor(merged.out_view()), tensor(merged.lse_view())};
  const auto words = [&](std::span<const dca::PartialState<const float>> states) {
    return [&merged, states] {
      dca::merge(device, states, dca::PartialState<float>{merged.out_view(), merged.lse_view()});
    };
  };
  check_same_words(dca_merge(nullptr, &state, 0, &result, nullptr), words({}));
  check_refused(dca_merge(nullptr, nullptr, 1, &result, nullptr), "states: NULL; must point to 1 elements");
  check_refused(dca_merge(nullptr, &state, 1, nullptr, nullptr), "result: NULL");
  const dca::PartialState<const float> short_state{dca::contiguous(w.outputs.out.data(), {1, 8, 4, 32}),
                                                   dca::contiguous(lse.data(), {1, 8, 4})};
  state = {tensor(short_state.out), tensor(short_state.lse)};
  check_same_words(dca_merge(nullptr, &state, 1, &result, nullptr), words({&short_state, 1}));
  state.out.dtype = DCA_FLOAT64;
  CHECK(dca_merge(nullptr, &state, 1, &result, nullptr) == DCA_INVALID_ARGUMENT);
  state.out.dtype = 99;
  check_refused(dca_merge(nullptr, &state, 1, &result, nullptr), "states: dtype 99");
  CHECK(same_bits(merged, before));

  int64_t cell = -7;
  check_refused(dca_position_map(w.attention.get(), -1, 1, 0, 1, &cell), "first_query: -1; must be at least 0");
  check_refused(dca_position_map(w.attention.get(), 0, huge, 0, huge, &cell), "overflows");
  check_refused(dca_position_map(w.attention.get(), 0, 1, 0, 1, nullptr), "out: ");
  check_same_words(dca_chunk_sizes_to_try(1, nullptr, 0, &cell), [] { dca::chunk_sizes_to_try(1); });
  check_refused(dca_chunk_sizes_to_try(4096, nullptr, 3, &cell), "sizes: NULL; must point to 3 elements");
  check_refused(dca_local_windows_to_try(4096, 1000, nullptr, -3, &cell), "sizes: size -3");
  check_refused(dca_chunk_sizes_to_try(4096, nullptr, 0, nullptr), "count: NULL");
  CHECK(cell == -7);

  const int64_t shape[] = {huge, 3};
  dca_tensor made = DCA_NO_TENSOR;
  check_same_words(dca_contiguous(lse.data(), DCA_FLOAT32, 2, shape, &made), [&] {
    dca::contiguous(lse.data(), {huge, 3});
  });
  check_refused(dca_contiguous(lse.data(), DCA_FLOAT32, 5, shape, &made), "shape: 5 dimensions; must be from 0 to 4");
  check_refused(dca_contiguous(lse.data(), DCA_FLOAT32, -1, shape, &made), "shape: -1 dimensions");
  check_refused(dca_contiguous(lse.data(), DCA_FLOAT32, 2, nullptr, &made), "shape: NULL");
  check_refused(dca_contiguous(lse.data(), 0, 1, shape, &made), "tensor: dtype 0");
  check_refused(dca_contiguous(lse.data(), DCA_FLOAT32, 1, shape, nullptr), "tensor: NULL");
  CHECK((made.data == nullptr && made.rank == 0));

  dca_choice choice = DCA_CHOICE_INIT;
  check_refused(dca_choices_get(w.choices.get(), 0, &choice), "choice: 0; must be at least 0 and less than size, 0");
}

TEST_CASE("C: more memory than there is, and more than can be counted") {
  const World w;
  dca_pool* pool = nullptr;
  dca_cache_config config = w.config;
  constexpr int64_t terabytes = int64_t{1} << 38;
  if (!is_sanitized) {
    CHECK(dca_pool_create(w.attention.get(), &config, terabytes / 4, 4, &pool) == DCA_OUT_OF_MEMORY);
    CHECK(std::string(dca_last_error()) == "dca: out of memory");
  }
  CHECK(pool == nullptr);
  const dca_const_partial_state state{};
  CHECK(dca_merge(nullptr, &state, huge, nullptr, nullptr) == DCA_OUT_OF_MEMORY);
}
