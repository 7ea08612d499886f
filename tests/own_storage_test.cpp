// Storages that are not the library's: 8-bit floats with a scale for each token and kv_head, and integers with scales
// for each feature that several tokens share.
#include "float8.hpp"

#include <limits>

#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;

namespace {

/// 8-bit integers. 5 tokens share a scale for each feature: the integers reach twice as far as the first of them, and
/// at least to 1. With or without a way to multiply them where they lie.
template <bool loads>
struct SharedScales {};

constexpr Index shared_by = 5;

}  // namespace

template <bool loads>
struct dca::RowStorage<SharedScales<loads>> {
  using Unit = std::int8_t;
  static constexpr Index multiple = 1;
  static constexpr Index units(Index features) { return features; }

  using Side = float;
  static constexpr Index side_tokens = shared_by;
  static constexpr Index sides(Index features) { return features; }

  template <class X>
  static void encode(const X* x, Index features, RowPlace<SharedScales<loads>> row) {
    for (Index d = 0; d < features; ++d) {
      const auto value = static_cast<float>(x[d]);
      if (row.token == 0) row.side[d] = std::max(1.0f, 2 * std::abs(value)) / 127;
      row.data[d] = static_cast<Unit>(std::clamp(std::nearbyint(value / row.side[d]), -127.0f, 127.0f));
    }
  }
  template <class X>
  static void decode(StoredRow<SharedScales<loads>> row, Index features, X* x) {
    for (Index d = 0; d < features; ++d) x[d] = static_cast<X>(static_cast<float>(row.data[d]) * row.side[d]);
  }
  template <class T>
  requires(loads&& std::same_as<T, float>) static Packet<T> load(StoredRow<SharedScales<loads>> row, Index, Index d) {
    float x[sizeof(Packet<T>) / sizeof(float)];
    for (Index k = 0; k < std::ssize(x); ++k) x[k] = static_cast<float>(row.data[d + k]) * row.side[d + k];
    Packet<T> packet;
    std::memcpy(&packet, x, sizeof packet);
    return packet;
  }
};

namespace {

constexpr dca::ChunkConfig chunks{70, 15};

std::vector<float> round_trip(const std::vector<float>& x) {
  using Storage = dca::RowStorage<Float8>;
  std::vector<Storage::Unit> row(x.size());
  float scale = 0;
  std::vector<float> y(x.size());
  Storage::encode(x.data(), std::ssize(x), {row.data(), &scale});
  Storage::decode({row.data(), &scale}, std::ssize(x), y.data());
  return y;
}

/// All magnitudes of e4m3, ascending.
std::vector<double> magnitudes() {
  std::vector<double> all;
  for (int mantissa = 0; mantissa < 8; ++mantissa) all.push_back(std::ldexp(mantissa, -9));
  for (int exponent = -6; exponent <= 8; ++exponent) {
    for (int mantissa = 8; mantissa < 16; ++mantissa) all.push_back(std::ldexp(mantissa, exponent - 3));
  }
  all.pop_back();  // 480 stands for NaN
  return all;
}

template <class E>
void read_row(dca::StoredRow<E> row, Index features, float* place) {
  dca::RowStorage<E>::decode(row, features, place);
}

/// All rows of a kind of a sequence, [length, kv_heads, features], as `run(head, first)` gives them.
template <class Run>
std::vector<float> read_rows(Index length, Index kv_heads, Index features, const Run& run) {
  std::vector<float> rows(static_cast<std::size_t>(length * kv_heads * features));
  for (Index head = 0; head < kv_heads; ++head) {
    for (Index first = 0; first < length;) {
      const auto some = run(head, first);
      for (Index r = 0; r < some.count; ++r, ++first) {
        read_row(some.row(r), features, rows.data() + (first * kv_heads + head) * features);
      }
    }
  }
  return rows;
}
template <class View>
std::vector<float> stored_keys(const View& view, Index sequence = 0) {
  return read_rows(view.length(sequence), view.kv_heads(), view.head_dim(),
                   [&](Index head, Index first) { return view.keys(sequence, head, first); });
}
template <class View>
std::vector<float> stored_values(const View& view, Index sequence = 0) {
  return read_rows(view.length(sequence), view.kv_heads(), view.v_head_dim(),
                   [&](Index head, Index first) { return view.values(sequence, head, first); });
}

/// Attention on a source, whose only sequence has the length of the problem, against the definition on the very numbers
/// that it holds.
template <class Attention, class View>
void check_view(const Attention& attention, const Ropes& ropes, const View& view, Inputs<float> in) {
  const auto actual = run_on(attention, in, view);
  in.key = stored_keys(view);
  in.value = stored_values(view);
  CHECK(difference(actual, dual_chunk_reference(in, chunks, ropes.reference)) == "");
}

/// Caches of K and V, contiguous and paged: what few and many query rows get of them, with features that are whole
/// packets and not.
template <class K, class V>
void check_caches() {
  Random random;
  const Ropes ropes = make_ropes(0);  // so that stored keys are keys as they came
  const dca::DualChunkAttention<float> attention({.chunks = chunks, .rope = ropes.library});
  for (const auto& [head_dim, v_head_dim] : {std::pair<Index, Index>{64, 96}, {20, 7}}) {
    for (const Index q_len : {1, 4, 100}) {  // streamed, streamed and packed
      const Inputs<float> in({1, q_len, 300, 4, 2, head_dim, v_head_dim}, random);
      INFO("q_len " << q_len << " head_dim " << head_dim);
      auto contiguous = attention.make_cache<K, V>(cache_shape(in.sizes), 1, {.tokens = 300});
      append_tokens(contiguous, 0, in, 0, 0, 131);
      append_tokens(contiguous, 0, in, 0, 131, 169);
      check_view(attention, ropes, contiguous.view(), in);
      for (const Index block_size : {15, 16}) {  // whole sides, and not
        auto paged = attention.make_paged_cache<K, V>(cache_shape(in.sizes), 20, block_size);
        const Index sequence = paged.add();
        paged.append(Eigen::DefaultDevice{}, sequence, in.operands().key, in.operands().value);
        const std::vector<Index> only{sequence};
        check_view(attention, ropes, paged.view(only), in);
      }
    }
  }
}

/// Memory of one's own: 300 unrotated rows of 32 features, in runs of at most `longest`.
template <class E>
struct Rows {
  using Key = E;
  using Value = E;
  using KeyPlacement = dca::Unplaced;
  using Storage = dca::RowStorage<E>;
  static constexpr Index count = 300, features = 32;
  Index longest = count;
  std::vector<dca::StorageUnit<E>> key_rows, value_rows;  // [count][2 kv_heads][features]
  std::vector<float> key_sides, value_sides;              // [2 kv_heads][sides of a head]

  static Index sides() { return (count + Storage::side_tokens - 1) / Storage::side_tokens * Storage::sides(features); }

  explicit Rows(const Inputs<float>& in)
      : key_rows(static_cast<std::size_t>(count * 2 * features)),
        value_rows(key_rows.size()),
        key_sides(static_cast<std::size_t>(2 * sides())),
        value_sides(key_sides.size()) {
    for (Index token = 0; token < count; ++token) {
      for (Index head = 0; head < 2; ++head) {
        const Index row = (token * 2 + head) * features;
        const Index side = head * sides() + token / Storage::side_tokens * Storage::sides(features);
        const Index number = token % Storage::side_tokens;
        Storage::encode(in.key.data() + row, features, {key_rows.data() + row, key_sides.data() + side, number});
        Storage::encode(in.value.data() + row, features, {value_rows.data() + row, value_sides.data() + side, number});
      }
    }
  }

  dca::RowRun<E> keys(Index, Index head, Index first) const { return run(key_rows, key_sides, head, first); }
  dca::RowRun<E> values(Index, Index head, Index first) const { return run(value_rows, value_sides, head, first); }
  Index sequences() const { return 1; }
  Index length(Index) const { return count; }
  Index kv_heads() const { return 2; }
  Index head_dim() const { return features; }
  Index v_head_dim() const { return features; }

 private:
  dca::RowRun<E> run(const std::vector<dca::StorageUnit<E>>& rows, const std::vector<float>& all_sides, Index head,
                     Index first) const {
    return {.data = rows.data() + (first * 2 + head) * features,
            .stride = 2 * features,
            .count = std::min(longest, count - first),
            .side = all_sides.data() + head * sides() + first / Storage::side_tokens * Storage::sides(features),
            .side_stride = Storage::sides(features),
            .side_token = first % Storage::side_tokens};
  }
};

template <class E>
void check_own_memory() {
  Random random;
  const Ropes ropes = make_ropes(32);
  const dca::DualChunkAttention<float> attention({.chunks = chunks, .rope = ropes.library});
  for (const Index q_len : {1, 30}) {
    const Inputs<float> in({1, q_len, 300, 4, 2, 32, 32}, random);
    Rows<E> source(in);
    const auto whole = run_on(attention, in, source);
    check_view(attention, ropes, source, in);
    source.longest = 7;
    CHECK(same_bits(run_on(attention, in, source), whole));
  }
}

}  // namespace

TEST_CASE("Float8 rounds to the nearest 8-bit float") {
  const std::vector<double> all = magnitudes();
  Random random;
  std::vector<float> x{448};  // the scale is 1
  for (int k = 0; k < 5000; ++k) {
    const float size =
        std::ldexp(static_cast<float>(random.integer(0, 448 << 8)), -8 - static_cast<int>(random.integer(0, 10)));
    x.push_back(k % 2 == 0 ? size : -size);
  }
  const std::vector<float> y = round_trip(x);
  for (std::size_t k = 0; k < x.size(); ++k) {
    double nearest = std::numeric_limits<double>::infinity();
    for (const double m : all) nearest = std::min(nearest, std::abs(m - std::abs(static_cast<double>(x[k]))));
    INFO("x " << x[k] << " y " << y[k]);
    REQUIRE(std::abs(static_cast<double>(y[k]) - static_cast<double>(x[k])) == nearest);
  }
  CHECK(round_trip(y) == y);
  CHECK(round_trip({0, 0}) == std::vector<float>{0, 0});
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    for (const float z : round_trip({1, bad})) CHECK(std::isnan(z));
  }
}

TEST_CASE("caches of a storage of one's own give what the definition gives on the numbers that they hold") {
  check_caches<Float8, Float8>();
  check_caches<SharedScales<true>, SharedScales<true>>();
  check_caches<SharedScales<false>, Float8>();
}

TEST_CASE("unrotated rows of a storage of one's own are placed by the call") {
  check_own_memory<Float8>();
  check_own_memory<SharedScales<true>>();
  check_own_memory<SharedScales<false>>();
}

TEST_CASE("what tokens share does not depend on how they were appended") {
  Random random;
  const Ropes ropes = make_ropes(32);
  const dca::DualChunkAttention<float> attention({.chunks = chunks, .rope = ropes.library});
  const Inputs<float> in({2, 1, 300, 4, 2, 32, 48}, random);
  const auto make = [&](dca::CacheCapacity capacity) {
    return attention.make_cache<SharedScales<true>, SharedScales<false>>(cache_shape(in.sizes), 2, capacity);
  };
  auto at_once = make({.tokens = 300});
  append_tokens(at_once, 0, in, 0, 0, 300);
  const auto keys = stored_keys(at_once.view()), values = stored_values(at_once.view());
  const auto check = [&](const auto& view, Index sequence) {
    CHECK(same_bits(stored_keys(view, sequence), keys));
    CHECK(same_bits(stored_values(view, sequence), values));
  };
  SECTION("in pieces, by several threads, into memory that grows") {
    Eigen::ThreadPool pool(3);
    const Eigen::ThreadPoolDevice device(&pool, 3);
    auto cache = make({.tokens = 8, .grows = true});
    for (const auto& [first, count] : {std::pair<Index, Index>{0, 1}, {1, 6}, {7, 123}, {130, 170}}) {
      append_tokens(cache, 0, in, 0, first, count, device);
    }
    check(cache.view(), 0);
  }
  SECTION("again after truncation, over other tokens") {
    auto cache = make({.tokens = 300});
    append_tokens(cache, 0, in, 0, 0, 13);
    append_tokens(cache, 0, in, 1, 13, 200);
    cache.truncate(0, 13);
    append_tokens(cache, 0, in, 0, 13, 287);
    check(cache.view(), 0);
  }
  SECTION("in a copied prefix") {
    auto cache = make({.tokens = 300});
    append_tokens(cache, 0, in, 0, 0, 17);
    cache.copy_prefix(0, 1, 12);
    append_tokens(cache, 1, in, 0, 12, 288);
    check(cache.view(), 1);
  }
  SECTION("in forks that copy on write") {
    auto cache = attention.make_paged_cache<SharedScales<true>, SharedScales<false>>(cache_shape(in.sizes), 50, 15);
    const Index origin = cache.add();
    append_tokens(cache, origin, in, 0, 0, 23);
    const Index fork = cache.fork(origin);
    append_tokens(cache, fork, in, 1, 23, 50);
    append_tokens(cache, origin, in, 0, 23, 277);
    const std::vector<Index> both{origin, fork};
    const auto view = cache.view(both);
    check(view, 0);
    const auto forked = stored_keys(view, 1);
    CHECK(std::equal(forked.begin(), forked.begin() + 23 * 2 * 32, keys.begin()));
    CHECK(!std::equal(forked.begin(), forked.end(), keys.begin()));
  }
}

TEST_CASE("the bytes of a cache count what lies beside its rows") {
  const Ropes ropes = make_ropes(32);
  const dca::DualChunkAttention<float> attention({.chunks = chunks, .rope = ropes.library});
  const dca::CacheShape shape{.kv_heads = 2, .head_dim = 32, .v_head_dim = 48};
  CHECK(attention.make_cache<Float8>(shape, 3, {.tokens = 21}).bytes() == 3 * 2 * 21 * (32 + 4 + 48 + 4));
  CHECK(attention.make_cache<SharedScales<true>>(shape, 3, {.tokens = 21}).bytes() ==
        3 * 2 * (21 * (32 + 48) + 5 * 4 * (32 + 48)));
}
