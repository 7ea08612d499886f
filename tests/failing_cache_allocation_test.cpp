// As failing_allocation_test.cpp: caches and pools of each storage.
#include "support/every_allocation.hpp"

using namespace dca_test;
using namespace dca_test::memory;

namespace {

/// A problem whose keys and values are stored as K and V. Rows of 4 bits are of at least 32 features.
template <class K, class V>
struct Stored : Problem {
  static constexpr Index features = std::is_same_v<K, dca::Int4> ? 32 : 8;
  static constexpr dca::CacheShape shape{
      .kv_heads = 2, .head_dim = features, .v_head_dim = features, .summary_block = summary_block};

  explicit Stored(Index batch = 1) : Problem(1, batch, features) {}

  /// The summaries of a kv_head's keys, where read(window, to) reads one.
  template <class Read>
  static void observe_summaries(Index length, const Read& read, Observation& seen) {
    std::vector<float> summary(3 * features);
    for (Index window = 0; window * summary_block < length; ++window) {
      read(window, summary.data());
      seen << summary;
    }
  }

  /// What a cache shows of each sequence: its length, the attention of a query to it, the summaries of its keys.
  template <class Cache>
  void observe_sequence(const Cache& cache, Index sequence, Observation& seen) const {
    const auto view = cache.view(std::span(&sequence, 1));
    const Index length = cache.length(sequence);
    seen << length;
    if (length == 0) return;
    Outputs<float> results(in);
    attention(Eigen::DefaultDevice{}, in.operands().query, view, results.out_view(), {.lse = results.lse_view()});
    seen << results;
    if (view.summary_block() == 0) return;
    observe_summaries(
        length, [&](Index window, float* to) { view.read_summary(0, 0, window, to); }, seen);
  }
};

template <class K, class V>
struct Contiguous : Stored<K, V> {
  explicit Contiguous(dca::CacheCapacity capacity, bool summaries = true)
      : cache(this->attention.template make_cache<K, V>(summaries ? this->shape : cache_shape(this->in.sizes), 2,
                                                        capacity)) {
    append_tokens(cache, 0, this->in, 0, 0, 15);
    append_tokens(cache, 1, this->in, 0, 0, 10);
  }
  void observe(Observation& seen) const {
    seen << cache.capacity() << cache.bytes();
    for (const Index sequence : {Index{0}, Index{1}}) this->observe_sequence(cache, sequence, seen);
  }
  dca::KeyValueCache<K, dca::ChunkOffset, V> cache;
};

/// On more threads than the appends before, and so with more scratch.
template <class K, class V>
struct AppendToContiguous : Contiguous<K, V> {
  using Contiguous<K, V>::Contiguous;
  void operate() { append_tokens(this->cache, 0, this->in, 0, 15, 30, this->threads->device); }
};

/// Two sequences at once: the first must not be changed where the second gets no memory.
template <class K, class V>
struct AppendToAll : Stored<K, V> {
  AppendToAll() : Stored<K, V>(2), cache(this->attention.template make_cache<K, V>(this->shape, 2, {.tokens = 50})) {
    append(Eigen::DefaultDevice{}, 0, 14);
  }
  template <class Device>
  void append(const Device& device, Index first, Index count) {
    const Operands<float> x = this->tokens(first, count);
    cache.append(device, x.key, x.value);
  }
  void operate() { append(this->threads->device, 14, 31); }
  void observe(Observation& seen) const {
    for (const Index sequence : {Index{0}, Index{1}}) {
      seen << cache.length(sequence);
      this->observe_summaries(
          cache.length(sequence), [&](Index window, float* to) { cache.view().read_summary(sequence, 1, window, to); },
          seen);
    }
  }
  dca::KeyValueCache<K, dca::ChunkOffset, V> cache;
};

template <class K, class V>
struct CopyPrefix : Contiguous<K, V> {
  CopyPrefix() : Contiguous<K, V>({.tokens = 50}) {}
  void operate() { this->cache.copy_prefix(0, 1, 13); }
};

template <class K, class V>
struct MakeContiguous : Stored<K, V> {
  void operate() { bytes = this->attention.template make_cache<K, V>(this->shape, 3, {.tokens = 9}).bytes(); }
  void observe(Observation& seen) const { seen << bytes; }
  Index bytes = 0;
};

/// A sequence and a fork of it, which share three blocks; the last is begun.
template <class K, class V>
struct Paged : Stored<K, V> {
  Paged() : cache(this->attention.template make_paged_cache<K, V>(this->shape, 20, 6)) {
    sequences.push_back(cache.add());
    append_tokens(cache, 0, this->in, 0, 0, 15);
    sequences.push_back(cache.fork(0));
    sequences.reserve(3);
  }
  void observe(Observation& seen) const {
    seen << cache.pool().free_blocks();
    for (Index block = 0; block < cache.pool().blocks(); ++block) seen << cache.pool().users(block);
    for (const Index sequence : sequences) this->observe_sequence(cache, sequence, seen);
  }
  std::vector<Index> sequences{};
  dca::PagedCache<K, dca::ChunkOffset, V> cache;
};

template <class K, class V>
struct AppendToPaged : Paged<K, V> {
  void operate() { append_tokens(this->cache, 1, this->in, 0, 15, 30, this->threads->device); }
};
template <class K, class V>
struct Add : Paged<K, V> {
  void operate() { this->sequences.push_back(this->cache.add()); }
};
template <class K, class V>
struct Fork : Paged<K, V> {
  void operate() { this->sequences.push_back(this->cache.fork(1)); }
};
template <class K, class V>
struct RemovePaged : Paged<K, V> {
  void operate() {
    this->cache.truncate(0, 13);
    this->cache.remove(1);
    this->sequences.resize(1);
  }
};

template <class K, class V>
struct MakePaged : Stored<K, V> {
  void operate() {
    free_blocks = this->attention.template make_paged_cache<K, V>(this->shape, 5, 6).pool().free_blocks();
  }
  void observe(Observation& seen) const { seen << free_blocks; }
  Index free_blocks = 0;
};

/// An offset where there is one already. What it is shows in tokens that come after it, with all memory that there is.
template <class Cache>
struct SetOffset : Stored<float, float> {
  explicit SetOffset(Cache made) : cache(std::move(made)) { set(2.0F); }
  void set(float size) {
    const std::vector<float> offset(2 * Stored::features, size);
    cache.set_key_offset(dca::contiguous(offset.data(), {2, Stored::features}));
  }
  void operate() { set(7.0F); }
  void observe(Observation& seen) const {
    auto& used = const_cast<Cache&>(cache);
    append_tokens(used, 0, this->in, 0, 0, 5);
    this->observe_sequence(cache, 0, seen);
    used.truncate(0, 0);
  }
  Cache cache;
};
struct SetOffsetOfContiguous : SetOffset<dca::KeyValueCache<float>> {
  SetOffsetOfContiguous() : SetOffset(Problem(1).attention.make_cache<float>(shape, 2, {.tokens = 20})) {}
};
struct SetOffsetOfPaged : SetOffset<dca::PagedCache<float>> {
  SetOffsetOfPaged() : SetOffset(with_sequence()) {}
  static dca::PagedCache<float> with_sequence() {
    auto cache = Problem(1).attention.make_paged_cache<float>(shape, 4, 6);
    cache.add();
    return cache;
  }
};

/// A pool whose tables are the caller's: 15 tokens in the first three of six blocks, two blocks free.
template <class K, class V>
struct UserPool : Stored<K, V> {
  UserPool() : pool(this->attention.placed_keys(), this->shape, 8, 6) {
    for (int k = 0; k < 6; ++k) blocks.push_back(pool.take());
    append(Eigen::DefaultDevice{}, 15);
  }
  template <class Device>
  void append(const Device& device, Index count) {
    const std::vector<dca::BlockTable> tables{{blocks, length}};
    const Operands<float> x = this->tokens(length, count);
    pool.append(device, tables, x.key, x.value);
    length += count;
  }
  template <class Row>
  static void observe_row(const dca::RowRun<Row>& rows, Observation& seen) {
    seen << std::vector(rows.data, rows.data + dca::RowStorage<Row>::units(Stored<K, V>::features));
    if constexpr (dca::detail::HasSide<Row>) {
      seen << std::vector(rows.side, rows.side + dca::RowStorage<Row>::sides(Stored<K, V>::features));
    }
  }
  void observe(Observation& seen) const {
    for (Index block = 0; block < pool.blocks(); ++block) seen << pool.users(block);
    seen << length;
    const std::vector<dca::BlockTable> tables{{blocks, length}};
    for (Index head = 0; head < 2; ++head) {
      this->observe_summaries(
          length, [&](Index window, float* to) { pool.read_summary(tables[0], head, window, to); }, seen);
      for (Index j = 0; j < length; ++j) {
        observe_row(pool.keys(tables[0], head, j), seen);
        observe_row(pool.values(tables[0], head, j), seen);
      }
    }
  }
  std::vector<Index> blocks{};
  Index length = 0;
  dca::BlockPool<K, dca::ChunkOffset, V> pool;
};
template <class K, class V>
struct AppendToPool : UserPool<K, V> {
  void operate() { this->append(this->threads->device, 20); }
};
/// The second block again, behind the first: a table that says so must hold its keys.
template <class K, class V>
struct CopyBlock : UserPool<K, V> {
  void operate() {
    this->pool.copy_tokens(this->blocks[1], this->blocks[3], 6);
    this->blocks[1] = this->blocks[3];
  }
};
template <class K, class V>
struct CopyBlockFrom : UserPool<K, V> {
  void operate() {
    this->pool.copy_tokens_from(other.pool, other.blocks[0], this->blocks[3], 6);
    this->blocks[0] = this->blocks[3];
  }
  UserPool<K, V> other{};
};

/// Storages of keys and of values.
template <class K, class V = K>
struct Storage {
  using Key = K;
  using Value = V;
};
using OfFloats = Storage<float>;
using Of8Bits = Storage<dca::Int8, Eigen::half>;
using Of4Bits = Storage<dca::Int4, Eigen::bfloat16>;

}  // namespace

TEMPLATE_TEST_CASE("a contiguous cache without memory is as it was", "", OfFloats, Of8Bits, Of4Bits) {
  using K = typename TestType::Key;
  using V = typename TestType::Value;
  const dca::CacheCapacity enough{.tokens = 50}, growing{.tokens = 20, .grows = true};
  every_allocation_may_fail("append", maker<AppendToContiguous<K, V>>(enough), 1);
  every_allocation_may_fail("append to one that grows", maker<AppendToContiguous<K, V>>(growing), 5);
  every_allocation_may_fail("append without summaries", maker<AppendToContiguous<K, V>>(enough, false), 1);
  every_allocation_may_fail("append to all sequences", maker<AppendToAll<K, V>>(), 1);
  every_allocation_may_fail("copy_prefix", maker<CopyPrefix<K, V>>(), 0);
  every_allocation_may_fail("construction", maker<MakeContiguous<K, V>>(), 5);
}

TEST_CASE("a key offset without memory leaves the one before") {
  every_allocation_may_fail("set_key_offset", maker<SetOffsetOfContiguous>(), 5);
  every_allocation_may_fail("set_key_offset of a paged cache", maker<SetOffsetOfPaged>(), 5);
}

TEMPLATE_TEST_CASE("a paged cache without memory is as it was, and keeps no block", "", OfFloats, Of8Bits, Of4Bits) {
  using K = typename TestType::Key;
  using V = typename TestType::Value;
  every_allocation_may_fail("append", maker<AppendToPaged<K, V>>(), 1);
  every_allocation_may_fail("add", maker<Add<K, V>>(), 2);
  every_allocation_may_fail("fork", maker<Fork<K, V>>(), 3);
  every_allocation_may_fail("truncate and remove", maker<RemovePaged<K, V>>(), 0);
  every_allocation_may_fail("construction", maker<MakePaged<K, V>>(), 5);
}

TEMPLATE_TEST_CASE("a block pool without memory is as it was", "", OfFloats, Of8Bits, Of4Bits) {
  using K = typename TestType::Key;
  using V = typename TestType::Value;
  every_allocation_may_fail("append", maker<AppendToPool<K, V>>(), 1);
  every_allocation_may_fail("copy_tokens", maker<CopyBlock<K, V>>(), 0);
  every_allocation_may_fail("copy_tokens_from", maker<CopyBlockFrom<K, V>>(), 0);
}
