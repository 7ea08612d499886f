// Where memory runs out, at whichever allocation: the operation throws std::bad_alloc, leaves everything as it was,
// leaks nothing, and works when it is asked again.
#include <memory>

#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/failing_malloc.hpp"

using namespace dca_test;

namespace {

/// What a state shows, bit by bit.
class Observation {
 public:
  template <class T>
  Observation& operator<<(const std::vector<T>& values) {
    *this << static_cast<Index>(values.size());
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    return *this;
  }
  template <class T>
  Observation& operator<<(const Outputs<T>& outputs) {
    return *this << outputs.out << outputs.lse;
  }
  Observation& operator<<(Index value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  bool operator==(const Observation&) const = default;

 private:
  std::string bytes_;
};

/// Runs state.operate() on fresh states of make(), with 0, 1, 2, ... allocations granted, until it succeeds.
/// It must need at least `least`, or the test tests nothing.
template <class Make>
void every_allocation_may_fail(const char* operation, const Make& make, long least) {
  if (!allocations_are_counted()) return;
  INFO(operation);
  Observation expected;
  {
    const auto state = make();
    state->operate();
    state->observe(expected);
  }
  bool refused = true;
  for (long granted = 0; refused; ++granted) {
    REQUIRE(granted < 1000);
    CAPTURE(granted);
    refused = false;
    bool unchanged = true, as_expected = false;
    const long live = live_allocations();
    {
      const auto state = make();
      Observation before, after, again;
      state->observe(before);
      try {
        const GrantedAllocations limit(granted);
        state->operate();
      } catch (const std::bad_alloc&) {
        refused = true;
      }
      if (refused) {
        state->observe(after);
        unchanged = after == before;
        state->operate();
      }
      state->observe(again);
      as_expected = again == expected;
    }
    const long leaked = live_allocations() - live;
    CHECK(unchanged);
    CHECK(as_expected);
    CHECK(leaked == 0);
    if (!refused) CHECK(granted >= least);
  }
}

template <class State, class... Arguments>
auto maker(const Arguments&... arguments) {
  return [arguments...] { return std::make_unique<State>(arguments...); };
}

const dca::ChunkConfig chunks{12, 4};
constexpr Index summary_block = 4, token_count = 45;

struct Threads {
  Eigen::ThreadPool pool{2};
  Eigen::ThreadPoolDevice device{&pool, 2};
};

/// A problem of 45 tokens, its queries the last `q_len` of them: few are streamed, many are packed.
struct Problem {
  explicit Problem(Index q_len = 1, Index batch = 1)
      : random(7), in({batch, q_len, token_count, 4, 2, 8, 8}, random), outputs(in) {}

  Operands<float> tokens(Index first, Index count) const {
    const Operands<float> whole = in.operands();
    return {whole.query, rows_of(whole.key, first, count), rows_of(whole.value, first, count)};
  }

  Random random;
  Inputs<float> in;
  Outputs<float> outputs;
  dca::DualChunkAttention<float> attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 8);
  std::unique_ptr<Threads> threads = std::make_unique<Threads>();
};

struct Call : Problem {
  Call(Index q_len, bool is_threaded, bool keeps_workspace)
      : Problem(q_len, 2), threaded(is_threaded), keeps(keeps_workspace) {}
  void operate() {
    dca::CallOptions<float> options{.lse = outputs.lse_view()};
    if (keeps) options.workspace = &workspace;
    if (threaded) {
      attend(attention, threads->device, in.operands(), outputs.out_view(), options);
    } else {
      attend(attention, Eigen::DefaultDevice{}, in.operands(), outputs.out_view(), options);
    }
  }
  void observe(Observation& seen) const { seen << outputs; }
  bool threaded, keeps;
  dca::Workspace workspace;
};

struct RaggedCall : Problem {
  RaggedCall() : Problem(5) {}
  void operate() {
    const Operands<float> x = in.operands();
    const dca::RaggedKeyValues<const float, const float> source(x.key, x.value, key_starts);
    attend_source(attention, Eigen::DefaultDevice{}, x.query, source, outputs.out_view(),
                  {.lse = outputs.lse_view(), .cu_seqlens = query_starts});
  }
  void observe(Observation& seen) const { seen << outputs; }
  std::vector<Index> key_starts{0, 20, token_count}, query_starts{0, 1, 5};
};

/// What a cache shows of each sequence: its length, the attention of a query to it, the summaries of its keys.
template <class Cache>
void observe_sequence(const Problem& problem, const Cache& cache, const dca::PagedKeyValues<typename Cache::Pool>& view,
                      Index sequence, Observation& seen) {
  const Index length = cache.length(sequence);
  seen << length;
  if (length == 0) return;
  Outputs<float> outputs(problem.in);
  attend_source(problem.attention, Eigen::DefaultDevice{}, problem.in.operands().query, view, outputs.out_view(),
                {.lse = outputs.lse_view()});
  seen << outputs;
  if (view.summary_block() == 0) return;
  std::vector<float> summary(3 * 8);
  for (Index window = 0; window * summary_block < length; ++window) {
    view.read_summary(0, 0, window, summary.data());
    seen << summary;
  }
}

struct Contiguous : Problem {
  explicit Contiguous(dca::CacheCapacity capacity, Index summaries = summary_block)
      : cache(attention.make_cache<float>({.kv_heads = 2, .head_dim = 8, .v_head_dim = 8, .summary_block = summaries},
                                          2, capacity)) {
    append(0, 0, 15);
    append(1, 0, 10);
  }
  void append(Index sequence, Index first, Index count) { append_tokens(cache, sequence, in, 0, first, count); }
  void observe(Observation& seen) const {
    seen << cache.capacity() << cache.bytes();
    for (const Index sequence : {Index{0}, Index{1}}) {
      observe_sequence(*this, cache, cache.view(std::span(&sequence, 1)), sequence, seen);
    }
  }
  dca::KeyValueCache<float> cache;
};

/// On more threads than the appends before, and so with more scratch.
struct AppendToContiguous : Contiguous {
  using Contiguous::Contiguous;
  void operate() { append_tokens(cache, 0, in, 0, 15, 30, threads->device); }
};

/// Two sequences at once: the first must not be changed where the second gets no memory.
struct AppendToAll : Problem {
  AppendToAll()
      : Problem(1, 2),
        cache(attention.make_cache<float>(
            {.kv_heads = 2, .head_dim = 8, .v_head_dim = 8, .summary_block = summary_block}, 2, {.tokens = 50})) {
    append(Eigen::DefaultDevice{}, 0, 14);
  }
  template <class Device>
  void append(const Device& device, Index first, Index count) {
    const Operands<float> x = tokens(first, count);
    cache.append(device, x.key, x.value);
  }
  void operate() { append(threads->device, 14, 31); }
  void observe(Observation& seen) const {
    for (const Index sequence : {Index{0}, Index{1}}) {
      seen << cache.length(sequence);
      std::vector<float> summary(3 * 8);
      for (Index window = 0; window * summary_block < cache.length(sequence); ++window) {
        cache.view().read_summary(sequence, 1, window, summary.data());
        seen << summary;
      }
    }
  }
  dca::KeyValueCache<float> cache;
};

struct CopyPrefix : Contiguous {
  CopyPrefix() : Contiguous({.tokens = 50}) {}
  void operate() { cache.copy_prefix(0, 1, 13); }
};

struct MakeContiguous : Problem {
  void operate() {
    const auto made = attention.make_cache<float>(
        {.kv_heads = 2, .head_dim = 8, .v_head_dim = 8, .summary_block = summary_block}, 3, {.tokens = 9});
    bytes = made.bytes();
  }
  void observe(Observation& seen) const { seen << bytes; }
  Index bytes = 0;
};

/// A sequence and a fork of it, which share three blocks; the last is begun.
struct Paged : Problem {
  Paged()
      : cache(attention.make_paged_cache<float>(
            {.kv_heads = 2, .head_dim = 8, .v_head_dim = 8, .summary_block = summary_block}, 20, 6)) {
    sequences.push_back(cache.add());
    append_tokens(cache, 0, in, 0, 0, 15);
    sequences.push_back(cache.fork(0));
  }
  void observe(Observation& seen) const {
    seen << cache.pool().free_blocks();
    for (Index block = 0; block < cache.pool().blocks(); ++block) seen << cache.pool().users(block);
    for (const Index sequence : sequences) {
      observe_sequence(*this, cache, cache.view(std::span(&sequence, 1)), sequence, seen);
    }
  }
  std::vector<Index> sequences{};
  dca::PagedCache<float> cache;
};

struct AppendToPaged : Paged {
  void operate() { append_tokens(cache, 1, in, 0, 15, 30, threads->device); }
};
struct Add : Paged {
  Add() { sequences.reserve(3); }
  void operate() { sequences.push_back(cache.add()); }
};
struct Fork : Paged {
  Fork() { sequences.reserve(3); }
  void operate() { sequences.push_back(cache.fork(1)); }
};
struct RemovePaged : Paged {
  void operate() {
    cache.truncate(0, 13);
    cache.remove(1);
    sequences.resize(1);
  }
};

/// A pool whose tables are the caller's: 15 tokens in the first three of six blocks, two blocks free.
struct UserPool : Problem {
  UserPool()
      : pool(attention.placed_keys(), {.kv_heads = 2, .head_dim = 8, .v_head_dim = 8, .summary_block = summary_block},
             8, 6) {
    for (int k = 0; k < 6; ++k) blocks.push_back(pool.take());
    append(Eigen::DefaultDevice{}, 15);
  }
  template <class Device>
  void append(const Device& device, Index count) {
    const std::vector<dca::BlockTable> tables{{blocks, length}};
    const Operands<float> x = tokens(length, count);
    pool.append(device, tables, x.key, x.value);
    length += count;
  }
  void observe(Observation& seen) const {
    for (Index block = 0; block < pool.blocks(); ++block) seen << pool.users(block);
    seen << length;
    const std::vector<dca::BlockTable> tables{{blocks, length}};
    for (Index head = 0; head < 2; ++head) {
      std::vector<float> summary(3 * 8);
      for (Index window = 0; window * summary_block < length; ++window) {
        pool.read_summary(tables[0], head, window, summary.data());
        seen << summary;
      }
      for (Index j = 0; j < length; ++j) {
        const float* const key = pool.keys(tables[0], head, j).data;
        seen << std::vector<float>(key, key + 8);
      }
    }
  }
  std::vector<Index> blocks{};
  Index length = 0;
  dca::BlockPool<float> pool;
};
struct AppendToPool : UserPool {
  void operate() { append(threads->device, 20); }
};
/// The second block again, behind the first: a table that says so must hold its keys.
struct CopyBlock : UserPool {
  void operate() {
    pool.copy_tokens(blocks[1], blocks[3], 6);
    blocks[1] = blocks[3];
  }
};
struct CopyBlockFrom : UserPool {
  void operate() {
    pool.copy_tokens_from(other.pool, other.blocks[0], blocks[3], 6);
    blocks[0] = blocks[3];
  }
  UserPool other{};
};

struct MakePaged : Problem {
  void operate() {
    const auto made = attention.make_paged_cache<float>(
        {.kv_heads = 2, .head_dim = 8, .v_head_dim = 8, .summary_block = summary_block}, 5, 6);
    free_blocks = made.pool().free_blocks();
  }
  void observe(Observation& seen) const { seen << free_blocks; }
  Index free_blocks = 0;
};

/// A call that lets a policy choose, on a cache with summaries.
struct Select : Contiguous {
  Select() : Contiguous({.tokens = 50}) { append(0, 15, 30); }
  void operate() {
    const Index sequence = 0;
    const dca::CallOptions<float> options{
        .lse = outputs.lse_view(), .skipped = dca::contiguous(skipped.data(), in.lse_shape()), .chosen = &chosen};
    attention(Eigen::DefaultDevice{}, in.operands().query, cache.view(std::span(&sequence, 1)), outputs.out_view(),
              options, dca::TopBlocks{.keys = 8, .block = summary_block, .query_block = 4});
  }
  void observe(Observation& seen) const {
    seen << outputs << skipped << static_cast<Index>(chosen.size());
    for (const dca::ChosenBlocks& one : chosen) seen << one.blocks;
  }
  std::vector<float> skipped = std::vector<float>(4, -2.0F);
  std::vector<dca::ChosenBlocks> chosen{};
};

struct Merge : Problem {
  Merge() : Problem(40), other(in) {
    attend(attention, Eigen::DefaultDevice{}, in.operands(), other.out_view(), {.lse = other.lse_view()});
  }
  void operate() { merge_states({other.state(), other.state()}, outputs, {}, threads->device); }
  void observe(Observation& seen) const { seen << outputs; }
  Outputs<float> other;
};

struct Rotate : Problem {
  Rotate() : Problem(5) {}
  void operate() {
    dca::rotate(rope, std::span<const Index>(positions), dca::contiguous(in.query.data(), in.query_shape()));
  }
  void observe(Observation& seen) const { seen << in.query; }
  std::vector<Index> positions{3, 1, 4, 1, 5};
  dca::RotaryEmbedding rope = make_ropes(8).library;
};

struct RotateBack : Rotate {
  void operate() {
    dca::rotate_back(rope, std::span<const Index>(positions), dca::contiguous(in.query.data(), in.query_shape()));
  }
};

struct MakeOperator : Problem {
  void operate() {
    rotary_dim = dca::DualChunkAttention<float>({.chunks = chunks, .rope = rope}).placed_keys().rope.rotary_dim();
  }
  void observe(Observation& seen) const { seen << rotary_dim; }
  dca::RotaryEmbedding rope = make_ropes(8).library;
  Index rotary_dim = 0;
};

struct MakeRope : Problem {
  void operate() {
    rotary_dim = dca::RotaryEmbedding(dca::yarn_frequencies(16, 1e4, {.factor = 4, .trained_window = 64})).rotary_dim();
  }
  void observe(Observation& seen) const { seen << rotary_dim; }
  Index rotary_dim = 0;
};

}  // namespace

TEST_CASE("a call without memory writes nothing") {
  every_allocation_may_fail("decode", maker<Call>(Index{1}, false, false), 1);
  every_allocation_may_fail("prefill", maker<Call>(Index{40}, false, false), 1);
  every_allocation_may_fail("prefill with a workspace", maker<Call>(Index{40}, false, true), 1);
  every_allocation_may_fail("decode on two threads", maker<Call>(Index{1}, true, true), 1);
  every_allocation_may_fail("prefill on two threads", maker<Call>(Index{40}, true, false), 1);
  every_allocation_may_fail("ragged", maker<RaggedCall>(), 1);
}

TEST_CASE("a call that lets a policy choose without memory writes nothing") {
  every_allocation_may_fail("selection", maker<Select>(), 3);
}

TEST_CASE("a contiguous cache without memory is as it was") {
  every_allocation_may_fail("append", maker<AppendToContiguous>(dca::CacheCapacity{.tokens = 50}), 1);
  every_allocation_may_fail("append to one that grows",
                            maker<AppendToContiguous>(dca::CacheCapacity{.tokens = 20, .grows = true}), 5);
  every_allocation_may_fail("append without summaries",
                            maker<AppendToContiguous>(dca::CacheCapacity{.tokens = 50}, Index{0}), 1);
  every_allocation_may_fail("append to all sequences", maker<AppendToAll>(), 1);
  every_allocation_may_fail("copy_prefix", maker<CopyPrefix>(), 0);
  every_allocation_may_fail("construction", maker<MakeContiguous>(), 5);
}

TEST_CASE("a paged cache without memory is as it was, and keeps no block") {
  every_allocation_may_fail("append", maker<AppendToPaged>(), 1);
  every_allocation_may_fail("add", maker<Add>(), 2);
  every_allocation_may_fail("fork", maker<Fork>(), 3);
  every_allocation_may_fail("truncate and remove", maker<RemovePaged>(), 0);
  every_allocation_may_fail("construction", maker<MakePaged>(), 5);
}

TEST_CASE("a block pool without memory is as it was") {
  every_allocation_may_fail("append", maker<AppendToPool>(), 1);
  every_allocation_may_fail("copy_tokens", maker<CopyBlock>(), 0);
  every_allocation_may_fail("copy_tokens_from", maker<CopyBlockFrom>(), 0);
}

TEST_CASE("merge, rotation and embeddings without memory leave everything as it was") {
  every_allocation_may_fail("merge", maker<Merge>(), 1);
  every_allocation_may_fail("rotate", maker<Rotate>(), 2);
  every_allocation_may_fail("rotate_back", maker<RotateBack>(), 2);
  every_allocation_may_fail("an operator", maker<MakeOperator>(), 0);
  every_allocation_may_fail("an embedding", maker<MakeRope>(), 2);
}
