// A storage that is not the library's: 8-bit floats with a scale for each token and kv_head.
#include "float8.hpp"

#include <limits>

#include "support/attend_source_definition.hpp"
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;

namespace {

using Storage = dca::RowStorage<Float8>;

std::vector<float> round_trip(const std::vector<float>& x) {
  std::vector<std::byte> row(static_cast<std::size_t>(Storage::units(std::ssize(x))));
  std::vector<float> y(x.size());
  Storage::encode(x.data(), std::ssize(x), row.data());
  Storage::decode(row.data(), std::ssize(x), y.data());
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

/// Attention on a cache against the definition on the very numbers that are stored.
template <class Attention, class View>
void check_view(const Attention& attention, const Ropes& ropes, const View& view, dca::ChunkConfig chunks,
                Inputs<float> in) {
  const auto actual = run_on(attention, in, view);
  const Sizes& s = in.sizes;
  for (Index j = 0; j < s.kv_len; ++j) {
    for (Index head = 0; head < s.kv_heads; ++head) {
      const Index row = j * s.kv_heads + head;
      Storage::decode(view.keys(0, head, j).data, s.head_dim, in.key.data() + row * s.head_dim);
      Storage::decode(view.values(0, head, j).data, s.v_head_dim, in.value.data() + row * s.v_head_dim);
    }
  }
  CHECK(difference(actual, dual_chunk_reference(in, chunks, ropes.reference)) == "");
}

/// Memory of one's own: rows [300, 2 kv_heads] of 32 features.
struct Rows {
  using Key = Float8;
  using Value = Float8;
  using KeyPlacement = dca::Unplaced;
  const std::byte *key_rows, *value_rows;
  Index bytes;
  dca::RowRun<Float8> keys(Index, Index head, Index first) const {
    return {key_rows + (first * 2 + head) * bytes, 2 * bytes, 300 - first};
  }
  dca::RowRun<Float8> values(Index, Index head, Index first) const {
    return {value_rows + (first * 2 + head) * bytes, 2 * bytes, 300 - first};
  }
  Index sequences() const { return 1; }
  Index length(Index) const { return 300; }
  Index kv_heads() const { return 2; }
  Index head_dim() const { return 32; }
  Index v_head_dim() const { return 32; }
};

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
  constexpr dca::ChunkConfig chunks{70, 15};
  Random random;
  const Ropes ropes = make_ropes(0);  // so that stored keys are keys as they came
  const dca::DualChunkAttention<float> attention({.chunks = chunks, .rope = ropes.library});
  for (const auto& [head_dim, v_head_dim] : {std::pair<Index, Index>{64, 96}, {20, 7}}) {
    for (const Index q_len : {1, 4, 100}) {  // streamed, streamed and packed
      const Inputs<float> in({1, q_len, 300, 4, 2, head_dim, v_head_dim}, random);
      INFO("q_len " << q_len << " head_dim " << head_dim);
      auto contiguous = attention.make_cache<Float8>(cache_shape(in.sizes), 1, {.tokens = 300});
      append_tokens(contiguous, 0, in, 0, 0, 130);
      append_tokens(contiguous, 0, in, 0, 130, 170);
      check_view(attention, ropes, contiguous.view(), chunks, in);
      auto paged = attention.make_paged_cache<Float8>(cache_shape(in.sizes), 20, 16);
      const Index sequence = paged.add();
      paged.append(Eigen::DefaultDevice{}, sequence, in.operands().key, in.operands().value);
      const std::vector<Index> only{sequence};
      check_view(attention, ropes, paged.view(only), chunks, in);
    }
  }
}

TEST_CASE("unrotated keys of a storage of one's own are placed by the call") {
  Random random;
  const Inputs<float> in({1, 30, 300, 4, 2, 32, 32}, random);
  const Index row_bytes = Storage::units(32);
  std::vector<std::byte> keys(static_cast<std::size_t>(300 * 2 * row_bytes)), values(keys.size());
  Inputs<float> stored = in;
  for (Index row = 0; row < 600; ++row) {
    Storage::encode(in.key.data() + row * 32, 32, keys.data() + row * row_bytes);
    Storage::encode(in.value.data() + row * 32, 32, values.data() + row * row_bytes);
    Storage::decode(keys.data() + row * row_bytes, 32, stored.key.data() + row * 32);
    Storage::decode(values.data() + row * row_bytes, 32, stored.value.data() + row * 32);
  }
  constexpr dca::ChunkConfig chunks{70, 15};
  const Ropes ropes = make_ropes(32);
  const dca::DualChunkAttention<float> attention({.chunks = chunks, .rope = ropes.library});
  const Rows source{keys.data(), values.data(), row_bytes};
  CHECK(difference(run_on(attention, in, source), dual_chunk_reference(stored, chunks, ropes.reference)) == "");
}
