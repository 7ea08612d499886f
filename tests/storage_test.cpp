// Rows of features in storage: what a round trip may change, and that packets read what decoding gives.
#include <limits>

#include "support/catch.hpp"
#include "support/problem.hpp"

using namespace dca_test;
using dca::Int4;
using dca::Int8;
using dca::RowStorage;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// A row, with a side of its own.
template <class E>
struct Row {
  using Side = dca::StorageSide<E>;
  std::vector<dca::StorageUnit<E>> units;
  std::vector<Side> sides;

  template <class X>
  explicit Row(const std::vector<X>& x)
      : units(static_cast<std::size_t>(RowStorage<E>::units(std::ssize(x)))),
        sides(static_cast<std::size_t>(dca::detail::SideOf<E>::size(std::ssize(x)))) {
    RowStorage<E>::encode(x.data(), std::ssize(x), {units.data(), sides.data()});
  }
  dca::StoredRow<E> stored() const { return {units.data(), sides.data()}; }
  bool operator==(const Row&) const = default;
};

template <class E>
std::vector<float> round_trip(const std::vector<float>& x) {
  std::vector<float> y(x.size(), -1.0f);
  RowStorage<E>::decode(Row<E>(x).stored(), std::ssize(x), y.data());
  return y;
}

/// Features whose sizes differ by many orders of magnitude from row to row.
std::vector<float> random_row(Random& random, Index features) {
  return random.normal<float>(features, std::exp2(static_cast<double>(random.integer(-10, 10))));
}

/// The largest |x| in [first, last).
float largest(const std::vector<float>& x, std::size_t first, std::size_t last) {
  float most = 0;
  for (std::size_t d = first; d < last; ++d) most = std::max(most, std::abs(x[d]));
  return most;
}

constexpr double epsilon = std::numeric_limits<float>::epsilon();

/// Whether every element is within `share` of the largest magnitude of its group, or within `least`. The scale's
/// inverse and two products are rounded, by epsilon / 2 each.
bool within(const std::vector<float>& x, const std::vector<float>& y, std::size_t group, double share,
            double least = 0) {
  for (std::size_t d = 0; d < x.size(); ++d) {
    const std::size_t first = d - d % group;
    const double most = largest(x, first, std::min(first + group, x.size()));
    const double off = std::abs(static_cast<double>(x[d]) - static_cast<double>(y[d]));
    if (!(off <= std::max(most * (share + 1.5 * epsilon), least))) return false;
  }
  return true;
}

/// All features of a row by packets, with the scale that loading leaves to its user.
template <class T, class E>
std::vector<T> read_by_packets(const Row<E>& row, Index features) {
  constexpr int size = dca::detail::packet_size<T>;
  std::vector<T> y(static_cast<std::size_t>(features));
  for (Index d = 0; d < features; d += size) {
    T packet[size];
    dca::detail::ei::pstoreu(packet, RowStorage<E>::template load<T>(row.stored(), features, d));
    for (int k = 0; k < size; ++k) {
      T scale{1};
      if constexpr (dca::detail::HasScale<E>) scale = RowStorage<E>::scale(row.stored(), features);
      y[static_cast<std::size_t>(d + k)] = packet[k] * scale;
    }
  }
  return y;
}

template <class T, class E>
void check_loads(Random& random) {
  if constexpr (dca::detail::LoadsPackets<T, E>) {
    for (const Index features : {64, 96, 128, 256}) {
      std::vector<float> x = random_row(random, features);
      x[3] = 0.0f;
      const Row<E> row(x);
      std::vector<T> plain(x.size());
      RowStorage<E>::decode(row.stored(), features, plain.data());
      CHECK(same_bits(read_by_packets<T, E>(row, features), plain));
    }
  }
}

template <class T, class E>
void check_rows(Random& random) {
  for (Index features = 1; features <= 70; ++features) {
    if (features % RowStorage<E>::multiple != 0) continue;
    const Row<E> row(random_row(random, features));
    std::vector<T> by_packets(static_cast<std::size_t>(features)), plain(by_packets);
    dca::detail::decode_row<E>(row.stored(), features, by_packets.data());
    RowStorage<E>::decode(row.stored(), features, plain.data());
    CHECK(same_bits(by_packets, plain));
  }
}

template <class T, class O>
void check_written(Random& random) {
  for (Index features = 1; features <= 70; ++features) {
    const std::vector<float> row = random_row(random, features);
    std::vector<T> x(row.begin(), row.end());
    x[x.size() / 2] = std::numeric_limits<T>::infinity();
    const T weight = static_cast<T>(0.3);
    std::vector<O> written(x.size());
    dca::detail::write_scaled(x.data(), weight, features, written.data());
    for (std::size_t d = 0; d < x.size(); ++d) CHECK(written[d] == static_cast<O>(x[d] * weight));
    x[0] = std::numeric_limits<T>::quiet_NaN();
    dca::detail::write_scaled(x.data(), weight, features, written.data());
    CHECK(std::isnan(static_cast<float>(written[0])));
  }
}

}  // namespace

TEST_CASE("rows decoded by packets are those decoded number by number, of any width") {
  Random random;
  check_rows<float, float>(random);
  check_rows<float, Eigen::half>(random);
  check_rows<float, Eigen::bfloat16>(random);
  check_rows<float, Int8>(random);
  check_rows<float, Int4>(random);
  check_rows<double, Eigen::half>(random);
  check_rows<double, double>(random);
}

TEST_CASE("results are written rounded to nearest, of any width, and infinities and NaN stay") {
  Random random;
  check_written<float, float>(random);
  check_written<float, Eigen::half>(random);
  check_written<float, Eigen::bfloat16>(random);
  check_written<double, double>(random);
}

TEST_CASE("numbers as wide as their storage come back as they are") {
  Random random;
  std::vector<float> x = random_row(random, 77);
  x.insert(x.end(), {0.0f, -0.0f, infinity, -infinity, 1e-42f, std::numeric_limits<float>::max()});
  CHECK(same_bits(round_trip<float>(x), x));
  CHECK(same_bits(round_trip<double>(x), x));
}

TEST_CASE("half and bfloat16 are off by half a unit in the last place") {
  Random random;
  for (int trial = 0; trial < 200; ++trial) {
    const std::vector<float> x = random_row(random, random.integer(1, 70));
    CHECK(within(x, round_trip<Eigen::half>(x), 1, 0x1p-11, 0x1p-25));  // the least: half its smallest number
    CHECK(within(x, round_trip<Eigen::bfloat16>(x), 1, 0x1p-8));
  }
}

TEST_CASE("half and bfloat16 round ties to even and keep denormals, infinities and NaN") {
  CHECK(round_trip<Eigen::half>({1 + 0x1p-11f, 1 + 0x3p-11f, 0x1p-24f, 0x1p-26f, 65504.0f, 70000.0f}) ==
        std::vector<float>{1.0f, 1 + 0x1p-9f, 0x1p-24f, 0.0f, 65504.0f, infinity});
  CHECK(round_trip<Eigen::bfloat16>({1 + 0x1p-8f, 1 + 0x3p-8f, 0x1p-133f, -infinity}) ==
        std::vector<float>{1.0f, 1 + 0x1p-6f, 0x1p-133f, -infinity});
  CHECK(std::isnan(round_trip<Eigen::half>({not_a_number})[0]));
  CHECK(std::isnan(round_trip<Eigen::bfloat16>({not_a_number})[0]));
}

TEST_CASE("an Int8 feature is off by at most the row's largest magnitude / 254") {
  Random random;
  for (int trial = 0; trial < 300; ++trial) {
    const std::vector<float> x = random_row(random, random.integer(1, 140));
    const std::vector<float> y = round_trip<Int8>(x);
    CHECK(within(x, y, x.size(), 1.0 / 254));
    CHECK(largest(y, 0, y.size()) == Approx(largest(x, 0, x.size())).epsilon(2 * epsilon));
  }
}

TEST_CASE("an Int4 feature is off by at most its group's largest magnitude / 14") {
  Random random;
  for (int trial = 0; trial < 300; ++trial) {
    const Index groups = random.integer(1, 5);
    std::vector<float> x;
    for (Index group = 0; group < groups; ++group) {
      const std::vector<float> part = random_row(random, 32);
      x.insert(x.end(), part.begin(), part.end());
    }
    CHECK(within(x, round_trip<Int4>(x), 32, 1.0 / 14));
  }
}

TEST_CASE("rows of small integers take a byte or half a byte a feature, and their scales") {
  CHECK(RowStorage<Int8>::units(100) == 100);
  CHECK(RowStorage<Int8>::sides(100) == 1);
  CHECK(RowStorage<Int4>::units(96) == 48);
  CHECK(RowStorage<Int4>::sides(96) == 3);
  CHECK(RowStorage<Int8>::multiple == 1);
  CHECK(RowStorage<Int4>::multiple == 32);
}

TEST_CASE("zeros stay zeros, and a row of one feature keeps it") {
  const std::vector<float> zeros(64, 0.0f);
  CHECK(round_trip<Int8>(zeros) == zeros);
  CHECK(round_trip<Int4>(zeros) == zeros);
  for (const float x : {1.0f, -3.25f, 1e30f, -1e-30f})
    CHECK(round_trip<Int8>({x})[0] == Approx(x).epsilon(2 * epsilon));
}

TEST_CASE("rows of denormals are kept, or zeros where their scale has no inverse") {
  Random random;
  constexpr double least = 127.0 / static_cast<double>(std::numeric_limits<float>::max());
  for (const double size : {1e-36, 1e-37, 1e-38, 1e-40, 1e-44}) {
    const std::vector<float> x = random.normal<float>(64, size);
    CHECK(within(x, round_trip<Int8>(x), 64, 1.001 / 254, least));
    CHECK(within(x, round_trip<Int4>(x), 32, 1.001 / 14, least));
  }
}

TEST_CASE("NaN and infinity go into the whole row of Int8, and into their group of Int4") {
  Random random;
  for (const float poison : {not_a_number, infinity, -infinity}) {
    for (const std::size_t at : {std::size_t{0}, std::size_t{40}, std::size_t{95}}) {
      std::vector<float> x = random_row(random, 96);
      x[at] = poison;
      for (const float y : round_trip<Int8>(x)) CHECK_FALSE(std::isfinite(y));
      const std::vector<float> y = round_trip<Int4>(x);
      for (std::size_t d = 0; d < 96; ++d) CHECK(std::isfinite(y[d]) == (d / 32 != at / 32));
    }
  }
}

TEST_CASE("rows of double are stored as rows of float are") {
  Random random;
  const std::vector<float> x = random_row(random, 64);
  const std::vector<double> wide(x.begin(), x.end());
  const Row<Int8> row(wide);
  CHECK(row == Row<Int8>(x));
  std::vector<double> y(64);
  RowStorage<Int8>::decode(row.stored(), 64, y.data());
  const std::vector<float> narrow = round_trip<Int8>(x);
  CHECK(y == std::vector<double>(narrow.begin(), narrow.end()));
}

TEST_CASE("packets read what decoding gives, bit for bit, for all storage types") {
  Random random;
  for (int trial = 0; trial < 20; ++trial) {
    check_loads<float, float>(random);
    check_loads<float, Eigen::half>(random);
    check_loads<float, Eigen::bfloat16>(random);
    check_loads<float, Int8>(random);
    check_loads<float, Int4>(random);
    check_loads<double, double>(random);
  }
}
