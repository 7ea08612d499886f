// Calls on caches of all storages, and on ragged tensors.
#include "fuzz/operator_source.hpp"
#include "fuzz/operator_targets.hpp"
#include "fuzz/stored_rows.hpp"

namespace dca_fuzz {
namespace {

template <class T>
std::vector<T> narrowed(const Array& x) {
  return std::vector<T>(x.data.begin(), x.data.end());
}

/// Appends all sequences piece by piece, in turns; some pieces are taken back and written again.
template <class T, class Cache>
void fill(Bytes& bytes, Cache& cache, const std::vector<Index>& places, const std::vector<Sequence>& sequences) {
  const Index step = bytes.pick<Index>({2000, 1, 31, 32, 33, 200});
  const bool takes_back = bytes.one_in(3);
  Index left = 0;
  for (const Sequence& s : sequences) left = std::max(left, s.sizes.kv_len);
  for (Index first = 0; first < left; first += step) {
    for (std::size_t k = 0; k < sequences.size(); ++k) {
      const Index count = std::min(step, sequences[k].sizes.kv_len - first);
      if (count <= 0) continue;
      const auto key = narrowed<T>(sequences[k].numbers.key), value = narrowed<T>(sequences[k].numbers.value);
      const Sizes& sizes = sequences[k].sizes;
      const auto keys =
          dca::contiguous(key.data(), {sizes.kv_len, sizes.kv_heads, sizes.head_dim}).slice(0, first, count);
      const auto values =
          dca::contiguous(value.data(), {sizes.kv_len, sizes.kv_heads, sizes.v_head_dim}).slice(0, first, count);
      cache.append(Eigen::DefaultDevice{}, places[k], keys, values);
      if (!takes_back) continue;
      cache.truncate(places[k], first);
      cache.append(Eigen::DefaultDevice{}, places[k], keys, values);
    }
  }
}

/// The numbers that a view holds of a sequence, checked against what was put in.
template <class K, class V, class View>
Numbers read_back(const Case& c, const View& view, const Sequence& sequence, Index k,
                  const std::function<Index(Index)>& position) {
  Numbers stored = sequence.numbers;
  const Sizes& s = sequence.sizes;
  const auto rope = dca_test::make_ropes(c.rotary_dim, c.theta, 1.0, c.interleaved).reference;
  const auto features = static_cast<std::size_t>(s.head_dim), v_features = static_cast<std::size_t>(s.v_head_dim);
  const std::size_t pairs = rope.inv_freq.size();
  for (Index j = 0; j < s.kv_len; ++j) {
    for (Index h = 0; h < s.kv_heads; ++h) {
      double *const key = stored.key.row(0, j, h), *const value = stored.value.row(0, j, h);
      const auto row = read_row<K>(view.keys(k, h, j), features);
      const double error = sizeof(dca::StorageUnit<K>) > 4 ? 1e-14 : 1e-6;
      const auto wanted = reference::rotated(key, s.head_dim, rope, position(j));
      check_stored<K>(row, reordered(wanted, pairs, c.interleaved, true), error);
      const auto read = reordered(row, pairs, c.interleaved, false);
      std::copy(read.begin(), read.end(), key);
      const auto value_row = read_row<V>(view.values(k, h, j), v_features);
      check_stored<V>(value_row, std::vector<double>(value, value + v_features), 0);
      std::copy(value_row.begin(), value_row.end(), value);
    }
  }
  return stored;
}

/// Positions of keys that have been turned already.
reference::PositionMatrix placed(const reference::PositionMatrix& all) {
  return [all](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    const auto at = all(i, j);
    if (!at) return std::nullopt;
    return reference::Positions{at->query, 0};
  };
}

/// A cache of K and V for an operator of T, contiguous or paged, filled and read by it.
template <class T, class K, class V, class Attention>
void check_cache(Bytes& bytes, Case c, const Attention& attention, const reference::PositionMatrix& positions,
                 const std::function<Index(Index)>& position) {
  const auto multiple = [](Index features) { return (features + 31) / 32 * 32; };
  if (std::is_same_v<K, dca::Int4>) c.sizes.head_dim = multiple(c.sizes.head_dim);
  if (std::is_same_v<V, dca::Int4>) c.sizes.v_head_dim = multiple(c.sizes.v_head_dim);
  if (sizeof(dca::StorageUnit<V>) < 4) c.value_gain = std::max(c.value_gain, 1e-3);
  const bool ragged = bytes.one_in(2);
  const auto sequences = sequences_of<T>(bytes, c, 4, !ragged);
  const auto count = static_cast<Index>(sequences.size());
  Index longest = 1;
  for (const Sequence& s : sequences) longest = std::max(longest, s.sizes.kv_len);
  const dca::CacheShape shape{c.sizes.kv_heads, c.sizes.head_dim, c.sizes.v_head_dim};
  const auto check = [&](auto& cache, const std::vector<Index>& places) {
    fill<T>(bytes, cache, places, sequences);
    const auto view = cache.view(places);
    const auto call = [&](const Arguments<T, T, T>& x) {
      attention(Eigen::DefaultDevice{}, x.query, view, x.out, x.options);
    };
    const auto stored = [&](const Sequence& s, Index k) { return read_back<K, V>(c, view, s, k, position); };
    constexpr bool as_integers = std::is_same_v<K, dca::Int8> || std::is_same_v<K, dca::Int4>;
    check_source<T>(bytes, c, sequences, ragged, call, stored, placed(positions),
                    as_integers ? static_cast<double>(c.sizes.head_dim) : 0.0);
  };
  if (bytes.one_in(2)) {
    const bool grows = bytes.one_in(2);
    auto cache = attention.template make_cache<K, V>(shape, std::max<Index>(count, 1),
                                                     {.tokens = grows ? 3 : longest, .grows = grows});
    std::vector<Index> places;
    for (Index k = count; k > 0; --k) places.push_back(k - 1);
    check(cache, places);
  } else {
    const Index block_size = bytes.pick<Index>({1, 7, 16, 31, 64, 100, 128, 700});
    auto cache = attention.template make_paged_cache<K, V>(shape, count * (longest / block_size + 2), block_size);
    std::vector<Index> places;
    for (Index k = 0; k < count; ++k) places.push_back(cache.add());
    check(cache, places);
  }
}

}  // namespace

void fuzz_caches(Bytes& bytes) {
  const Index type = bytes.integer(0, 6);
  const Case c = case_of(bytes);
  const Index n = c.chunks.chunk_size - c.chunks.local_window;
  const auto all = reference::dual_chunk(c.chunks.chunk_size, c.chunks.local_window);
  const std::function<Index(Index)> offset = [n](Index j) { return j % n; };
  using Eigen::bfloat16;
  using Eigen::half;
  if (type == 1) {
    const dca::CausalAttention<float> plain(config_of(c, dca::Unchunked{}));
    return check_cache<float, float, float>(bytes, c, plain, reference::causal(), [](Index j) { return j; });
  }
  if (type == 2) {
    const dca::DualChunkAttention<double> wide(config_of<dca::ChunkLayout>(c, c.chunks));
    return check_cache<double, double, double>(bytes, c, wide, all, offset);
  }
  const dca::DualChunkAttention<float> attention(config_of<dca::ChunkLayout>(c, c.chunks));
  if (type == 3) return check_cache<float, dca::Int8, half>(bytes, c, attention, all, offset);
  if (type == 4) return check_cache<float, dca::Int4, bfloat16>(bytes, c, attention, all, offset);
  if (type == 5) return check_cache<float, half, dca::Int8>(bytes, c, attention, all, offset);
  if (type == 6) return check_cache<float, bfloat16, dca::Int4>(bytes, c, attention, all, offset);
  check_cache<float, float, float>(bytes, c, attention, all, offset);
}

void fuzz_ragged(Bytes& bytes) {
  const Case c = case_of(bytes);
  const auto sequences = sequences_of<float>(bytes, c, 5, false);
  std::vector<Index> starts{0};
  Array keys, values;
  for (const Sequence& s : sequences) {
    starts.push_back(starts.back() + s.sizes.kv_len);
    keys.data.insert(keys.data.end(), s.numbers.key.data.begin(), s.numbers.key.data.end());
    values.data.insert(values.data.end(), s.numbers.value.data.begin(), s.numbers.value.data.end());
  }
  keys.shape = {1, starts.back(), c.sizes.kv_heads, c.sizes.head_dim};
  values.shape = {1, starts.back(), c.sizes.kv_heads, c.sizes.v_head_dim};
  Strided<float> key(bytes, keys.shape), value(bytes, values.shape);
  key.write(keys);
  value.write(values);
  using Source = dca::RaggedKeyValues<const float, const float>;
  const auto source_of = [&](std::span<const Index> table) {
    return Source(std::as_const(key).view(), std::as_const(value).view(), table);
  };
  if (bytes.one_in(8)) {
    std::vector<Index> wrong = starts;
    Index& one = wrong[static_cast<std::size_t>(bytes.integer(0, static_cast<Index>(starts.size()) - 1))];
    one += bytes.pick<Index>({5000, -5000, std::numeric_limits<Index>::max() - 5000});
    require(refuses([&] { source_of(wrong); }), "cu_seqlens of keys");
    return;
  }
  const dca::DualChunkAttention<float> attention(config_of<dca::ChunkLayout>(c, c.chunks));
  const Source source = source_of(starts);
  const auto call = [&](const Arguments<float, float, float>& x) {
    attention(Eigen::DefaultDevice{}, x.query, source, x.out, x.options);
  };
  check_source<float>(
      bytes, c, sequences, true, call, [](const Sequence& s, Index) { return s.numbers; },
      reference::dual_chunk(c.chunks.chunk_size, c.chunks.local_window));
}

}  // namespace dca_fuzz
