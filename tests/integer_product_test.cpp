// Queries as 16-bit integers against keys of 8 and 4 bits: exact but for the rounding of the query.
#include <limits>

#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"

using namespace dca_test;
using dca::Int4;
using dca::Int8;

namespace {

/// Rows of E in memory, with their sides apart, and what they hold.
template <class E>
struct Keys {
  Index features, count;
  std::vector<dca::StorageUnit<E>> rows;
  std::vector<float> sides;
  std::vector<double> numbers;

  Keys(Index width, Index keys, Random& random)
      : features(width),
        count(keys),
        rows(static_cast<std::size_t>(keys * dca::RowStorage<E>::units(width))),
        sides(static_cast<std::size_t>(keys * side_stride())),
        numbers(static_cast<std::size_t>(keys * width)) {
    for (Index key = 0; key < count; ++key) {
      const auto x = random.normal<float>(features, std::exp2(static_cast<double>(random.integer(-3, 3))));
      auto* const row = rows.data() + key * dca::RowStorage<E>::units(features);
      auto* const side = sides.data() + key * side_stride();
      dca::RowStorage<E>::encode(x.data(), features, {row, side});
      dca::RowStorage<E>::decode({row, side}, features, numbers.data() + key * features);
    }
  }
  Index side_stride() const { return dca::RowStorage<E>::sides(features) + 3; }
  dca::RowRun<E> run() const {
    return {rows.data(), dca::RowStorage<E>::units(features), count, sides.data(), side_stride(), 0};
  }
};

/// Packed queries where the storage has a way, [rows][packed_bytes].
template <class E>
struct Packed {
  const dca::detail::ScoreFunctions<float>* functions = dca::detail::score_functions<float, E>();
  std::vector<std::byte> memory;
  Index bytes = 0;
  bool taken = true;

  bool can(Index features) const {
    return functions != nullptr && functions->pack != nullptr && features % functions->step == 0;
  }
  std::byte* pack(const std::vector<float>& queries, Index rows, Index features) {
    bytes = functions->packed_bytes(features);
    memory.assign(static_cast<std::size_t>(rows * bytes + 64), std::byte{0});
    auto* const place = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
    for (Index r = 0; r < rows; ++r) {
      taken = functions->pack(queries.data() + r * features, features, place + r * bytes) && taken;
    }
    return place;
  }
};

template <class E>
void check_products(Index features, Index rows, Index count, double outlier, Random& random) {
  Packed<E> packed;
  if (!packed.can(features)) return;  // rows are decoded, or multiplied as numbers
  const Keys<E> keys(features, count, random);
  auto queries = random.normal<float>(rows * features);
  for (Index r = 0; r < rows; ++r) queries[static_cast<std::size_t>(r * features + 5)] *= static_cast<float>(outlier);
  const std::byte* const place = packed.pack(queries, rows, features);
  REQUIRE(packed.taken);
  const Index stride = count + 16;
  std::vector<float> scores(static_cast<std::size_t>(rows * stride));
  const dca::detail::ByteRows run(keys.run());
  packed.functions->of_packed[static_cast<std::size_t>(rows - 1)](dca::detail::RowStream(run, run.data), features,
                                                                  place, scores.data(), stride);
  for (Index r = 0; r < rows; ++r) {
    double largest = 0;
    for (Index d = 0; d < features; ++d) {
      largest = std::max(largest, std::abs(static_cast<double>(queries[static_cast<std::size_t>(r * features + d)])));
    }
    for (Index key = 0; key < count; ++key) {
      double exact = 0, magnitude = 0, sum = 0;
      for (Index d = 0; d < features; ++d) {
        const double q = static_cast<double>(queries[static_cast<std::size_t>(r * features + d)]);
        const double k = keys.numbers[static_cast<std::size_t>(key * features + d)];
        exact += q * k;
        magnitude += std::abs(q * k);
        sum += std::abs(k);
      }
      const double bound = sum * largest / 65534 * 1.001 + magnitude * 1e-6;
      const double off = std::abs(static_cast<double>(scores[static_cast<std::size_t>(r * stride + key)]) - exact);
      if (!(off <= bound)) {
        FAIL("features " << features << " rows " << rows << " row " << r << " key " << key << " of " << count
                         << ": off by " << off << ", bound " << bound);
      }
    }
  }
}

/// Queries that are not finite are refused; of others the smallest may become 0.
template <class E>
void check_extremes(Random& random) {
  Packed<E> packed;
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    auto query = random.normal<float>(64);
    query[40] = bad;
    packed.taken = true;
    packed.pack(query, 1, 64);
    CHECK_FALSE(packed.taken);
  }
  for (const double size : {0.0, 1e-44, 1e-38, 1e-30, 1e30}) {
    const auto query = random.normal<float>(64, size);
    packed.taken = true;
    const std::byte* const place = packed.pack(query, 1, 64);
    REQUIRE(packed.taken);
    const Keys<E> keys(64, 3, random);
    float scores[16 + 3];
    const dca::detail::ByteRows run(keys.run());
    packed.functions->of_packed[0](dca::detail::RowStream(run, run.data), 64, place, scores, 19);
    for (Index key = 0; key < 3; ++key) {
      double exact = 0, sum = 0;
      for (std::size_t d = 0; d < 64; ++d) {
        exact += static_cast<double>(query[d]) * keys.numbers[static_cast<std::size_t>(key) * 64 + d];
        sum += std::abs(keys.numbers[static_cast<std::size_t>(key) * 64 + d]);
      }
      // Magnitudes whose scale has no inverse become 0.
      CHECK(std::abs(static_cast<double>(scores[key]) - exact) <= sum * std::max(size * 1e-4, 1e-34));
    }
  }
}

}  // namespace

TEST_CASE("products of rounded queries are exact but for that rounding") {
  Random random;
  for (const Index features : {32, 64, 96, 128, 160, 256, 512, 1024}) {
    for (Index rows = 1; rows <= 4; ++rows) {
      for (const Index count : {1, 2, 3, 5, 15, 16, 17, 33}) {
        for (const double outlier : {1.0, 300.0}) {
          check_products<Int8>(features, rows, count, outlier, random);
          check_products<Int4>(features, rows, count, outlier, random);
        }
      }
    }
  }
}

TEST_CASE("sums of the largest products do not overflow: wider rows are not multiplied as integers") {
  Packed<Int8> packed;
  for (const Index features : {2048, 4096, 8192, 16384}) {
    if (!packed.can(features)) return skip("this instruction set has no integer products");
    const std::vector<float> ones(static_cast<std::size_t>(features), 1.0F);
    const std::byte* const place = packed.pack(ones, 1, features);
    if (!packed.taken) {
      CHECK(features > 4096);
      return;
    }
    std::vector<std::byte> row(ones.size());
    float side = 0, scores[17];
    dca::RowStorage<Int8>::encode(ones.data(), features, {row.data(), &side});
    const dca::detail::ByteRows run(dca::RowRun<Int8>{row.data(), features, 1, &side, 1, 0});
    packed.functions->of_packed[0](dca::detail::RowStream(run, run.data), features, place, scores, 17);
    CHECK(std::abs(scores[0] / static_cast<float>(features) - 1) < 1e-4F);
  }
}

TEST_CASE("queries that are not finite, and such that are 0 or hardly more") {
  Random random;
  if (!Packed<Int8>().can(64)) return skip("this instruction set has no integer products");
  check_extremes<Int8>(random);
  check_extremes<Int4>(random);
}

TEST_CASE("a query that is not finite meets keys of 8 bits as the definition says, and spoils no neighbour") {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<float>>({200, 50}, 64);
  Inputs<float> in({1, 3, 500, 1, 1, 64, 64}, random);
  const auto before = run_on(attention, in, filled_cache<Int8>(attention, in).view());
  in.query[64 + 7] = std::numeric_limits<float>::quiet_NaN();  // of row 1
  const auto after = run_on(attention, in, filled_cache<Int8>(attention, in).view());
  for (std::size_t k = 0; k < after.out.size(); ++k) {
    if (k / 64 == 1) {
      CHECK(std::isnan(after.out[k]));
    } else {
      CHECK(std::abs(after.out[k] - before.out[k]) < 1e-3F);
    }
  }
}
