// Chunk layouts, the ranges of the parts, and rotary frequencies against formulas of their own.
#include <cmath>
#include <dca/dca.hpp>

#include "support/catch.hpp"
#include "support/problem.hpp"

using dca::ChunkConfig;
using dca::ChunkLayout;
using dca::Index;
using dca_test::Approx;
using dca_test::contains;

TEST_CASE("defaults are three quarters and an eighth of the trained window") {
  constexpr ChunkLayout layout = ChunkLayout::from_trained_window(8192);
  static_assert(layout.chunk_size() == 6144 && layout.local_window() == 1024 && layout.chunk_len() == 5120);
  CHECK(ChunkLayout::from_trained_window(7).chunk_size() == 5);
  CHECK_THROWS_WITH(ChunkLayout::from_trained_window(1), contains("trained window"));
}

TEST_CASE("a model's configuration fills missing fields from its window") {
  const ChunkLayout given = ChunkLayout::from_model_config({.chunk_size = 100, .local_size = 20});
  CHECK(given == ChunkLayout(ChunkConfig{100, 20}));
  CHECK(ChunkLayout::from_model_config({.original_max_position_embeddings = 64}) == ChunkLayout(ChunkConfig{48, 8}));
  CHECK(ChunkLayout::from_model_config({.local_size = 0, .original_max_position_embeddings = 64}).local_window() == 0);
  CHECK_THROWS_WITH(ChunkLayout::from_model_config({.chunk_size = 100}), contains("original_max_position_embeddings"));
}

TEST_CASE("impossible layouts are refused by name and value") {
  CHECK_THROWS_WITH(ChunkLayout(ChunkConfig{0, 0}), contains("chunk_size: 0"));
  CHECK_THROWS_WITH(ChunkLayout(ChunkConfig{-3, 0}), contains("chunk_size: -3"));
  CHECK_THROWS_WITH(ChunkLayout(ChunkConfig{8, 8}), contains("local_window: 8") && contains("less than chunk_size, 8"));
  CHECK_THROWS_WITH(ChunkLayout(ChunkConfig{8, -1}), contains("local_window: -1"));
  CHECK_THROWS_WITH(ChunkLayout(ChunkConfig{std::numeric_limits<Index>::max(), 0}), contains("chunk_size"));
}

TEST_CASE("the three ranges partition the past, and positions follow the definition") {
  for (Index size = 1; size <= 14; ++size) {
    for (Index window = 0; window < size; ++window) {
      const ChunkLayout chunks(ChunkConfig{size, window});
      const auto positions = dca_test::reference::dual_chunk(size, window);
      for (Index i = 0; i < 5 * size; ++i) {
        for (Index j = 0; j <= i + 1; ++j) {
          int seen = 0;
          const auto look = [&](auto part) {
            using Part = decltype(part);
            const dca::KeyRange range = Part::keys(chunks, i);
            if (j < range.first || j >= range.last) return;
            ++seen;
            CHECK(Part::query_position(chunks, i) == positions(i, j)->query);
            CHECK(Part::key_position(chunks, j) == positions(i, j)->key);
          };
          look(dca::IntraChunk{});
          look(dca::SuccessiveChunk{});
          look(dca::InterChunk{});
          REQUIRE(seen == (j <= i ? 1 : 0));
        }
      }
    }
  }
}

namespace {

/// A power of `base`, the exponent from -1 to 0, from two formulas: each takes its power of a base that is a few units
/// in the last place off, or of an exponent that is one unit off and counts log(base) times; then a few operations
/// follow. `amplified` times where something was subtracted.
Approx within_rounding(double frequency, double base, double amplified = 1) {
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  return Approx(frequency).epsilon(amplified * (8 + std::log(base)) * epsilon);
}

/// How far a rotated feature may be off, of a pair of norm 1, but for its angle. In float cosine and sine are rounded,
/// then two products and their sum: with u half of epsilon, (2 sqrt(2) + 1) u. In double the angles of three digits are
/// added up, and cosines and sines are off by 13 u before they are multiplied: (15 sqrt(2) + 1) u.
template <class T>
constexpr double turn_rounding() {
  return (sizeof(T) == sizeof(float) ? 2 : 12) * static_cast<double>(std::numeric_limits<T>::epsilon());
}

}  // namespace

TEST_CASE("rotary frequencies follow their papers") {
  const Index dim = 64;
  const double theta = 10000.0, scale = 4.0, window = 2048.0, pi = std::acos(-1.0);
  const auto plain = dca::plain_frequencies(dim, theta).inv_freq;
  const auto linear = dca::linear_frequencies(dim, theta, scale).inv_freq;
  const auto ntk = dca::ntk_frequencies(dim, theta, scale).inv_freq;
  const auto dynamic =
      dca::dynamic_ntk_frequencies(dim, theta, {.factor = 2.0, .trained_window = 2048, .length = 6144}).inv_freq;
  const auto within =
      dca::dynamic_ntk_frequencies(dim, theta, {.factor = 2.0, .trained_window = 2048, .length = 100}).inv_freq;
  const auto yarn = dca::yarn_frequencies(dim, theta, {.factor = scale, .trained_window = 2048});
  const auto llama3 = dca::llama3_frequencies(dim, theta, {.factor = 8.0, .trained_window = 2048}).inv_freq;
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  CHECK(std::abs(yarn.attention_factor - (0.1 * std::log(4.0) + 1.0)) <= 2 * epsilon);
  const double low = std::floor(dim * std::log(window / (32 * 2 * pi)) / (2 * std::log(theta)));
  const double high = std::ceil(dim * std::log(window / (1 * 2 * pi)) / (2 * std::log(theta)));
  for (std::size_t m = 0; m < 32; ++m) {
    const auto exponent = static_cast<double>(2 * m) / 64.0;
    const double f = std::pow(theta, -exponent);
    CHECK(plain[m] == within_rounding(f, theta));
    CHECK(linear[m] == within_rounding(f / 4, theta));
    const double ntk_theta = theta * std::pow(4.0, 64.0 / 62.0);
    const double dynamic_theta = theta * std::pow(2.0 * 3.0 - 1.0, 64.0 / 62.0);
    CHECK(ntk[m] == within_rounding(std::pow(ntk_theta, -exponent), ntk_theta));
    CHECK(dynamic[m] == within_rounding(std::pow(dynamic_theta, -exponent), dynamic_theta));
    CHECK(within[m] == plain[m]);
    const double ramp = std::min(1.0, std::max(0.0, (static_cast<double>(m) - low) / (high - low)));
    CHECK(yarn.inv_freq[m] == within_rounding(f / 4 * ramp + f * (1 - ramp), theta));
    const double wavelength = 2 * pi / f, smooth = (window / wavelength - 1) / 3;
    const double expected = wavelength < window / 4 ? f
                            : wavelength > window   ? f / 8
                                                    : (1 - smooth) * f / 8 + smooth * f;
    // A frequency's error moves `smooth`, and that the result, of at least f / 8, by up to 4 / 3 * 7 / 8 * f of it.
    CHECK(llama3[m] == within_rounding(expected, theta, 1 + 8 * 4.0 / 3 * 7 / 8));
  }
}

TEST_CASE("frequencies out of range are refused by name") {
  CHECK_THROWS_WITH(dca::plain_frequencies(5, 1e4), contains("rotary_dim: 5") && contains("even"));
  CHECK_THROWS_WITH(dca::plain_frequencies(-2, 1e4), contains("rotary_dim: -2"));
  CHECK_THROWS_WITH(dca::plain_frequencies(4, 0.0), contains("theta"));
  CHECK_THROWS_WITH(dca::linear_frequencies(4, 1e4, 0.0), contains("factor"));
  CHECK_THROWS_WITH(dca::ntk_frequencies(2, 1e4, 2.0), contains("rotary_dim"));
  CHECK_THROWS_WITH(dca::ntk_frequencies(8, 1e4, 0.5), contains("factor"));
  CHECK_THROWS_WITH(dca::yarn_frequencies(8, 1e4, {.factor = 2.0}), contains("trained_window"));
  CHECK_THROWS_WITH(dca::llama3_frequencies(8, 1e4, {.factor = 2.0, .low_freq_factor = 4.0, .trained_window = 64}),
                    contains("high_freq_factor"));
  CHECK_THROWS_WITH(dca::RotaryEmbedding({.inv_freq = {NAN}}), contains("inv_freq"));
  CHECK_THROWS_WITH(dca::RotaryEmbedding({.inv_freq = {1.0}, .attention_factor = -1.0}), contains("attention_factor"));
}

TEMPLATE_TEST_CASE("rotation agrees with the definition far out, to both sides, and has an inverse", "", float,
                   double) {
  const bool interleaved = GENERATE(false, true);
  const dca_test::Ropes ropes = dca_test::make_ropes(12, 10000.0, 1.0, interleaved);
  const std::vector<Index> positions = {0,  1,   63,  64,  4095,  4096,  262144,  1000003,
                                        -1, -15, -16, -17, -4095, -4096, -262144, -1000003};
  dca_test::Random random;
  const auto count = static_cast<Index>(positions.size());
  const std::vector<TestType> x = random.normal<TestType>(count * 2 * 17);
  std::vector<TestType> y = x;
  const auto view = dca::contiguous(y.data(), {count, 2, 17});
  dca::rotate(ropes.library, std::span<const Index>(positions), view);
  std::vector<double> bound(x.size(), 0.0);  // features beyond rotary_dim are as they were
  for (std::size_t row = 0; row < y.size() / 17; ++row) {
    const std::vector<double> before(x.begin() + static_cast<Index>(row) * 17,
                                     x.begin() + static_cast<Index>(row + 1) * 17);
    const auto expected = dca_test::reference::rotated(before.data(), 17, ropes.reference, positions[row / 2]);
    for (std::size_t d = 0; d < 17; ++d) {
      const std::size_t partner = interleaved ? d ^ 1 : (d + 6) % 12;
      if (d < 12) bound[row * 17 + d] = std::hypot(before[d], before[partner]) * turn_rounding<TestType>();
      INFO("position " << positions[row / 2] << ", feature " << d);
      CHECK(std::abs(static_cast<double>(y[row * 17 + d]) - expected[d]) <= bound[row * 17 + d]);
    }
  }
  dca::rotate_back(ropes.library, std::span<const Index>(positions), view);
  // Errors of both features of a pair come back, and that of turning back.
  for (std::size_t k = 0; k < y.size(); ++k) {
    CHECK(std::abs(static_cast<double>(y[k]) - static_cast<double>(x[k])) <= (std::sqrt(2.0) + 1) * bound[k]);
  }
  CHECK_THROWS_WITH(dca::rotate(ropes.library, std::span<const Index>(positions).first(3), view),
                    contains("positions: size 3"));
}

namespace {

constexpr Index highest = std::numeric_limits<Index>::max(), lowest = std::numeric_limits<Index>::min();

/// Positions around the edges of digits, and farther and farther out, to both sides.
std::vector<Index> edge_positions(int farthest_bit) {
  std::vector<Index> positions{0};
  for (int bit = 0; bit <= farthest_bit; ++bit) {
    const Index power = Index{1} << bit;
    for (const Index position : {power - 1, power, power + 1}) positions.insert(positions.end(), {position, -position});
  }
  return positions;
}

/// One row of ones, turned by a position.
template <class T>
std::vector<T> turned(const dca::RotaryEmbedding& rope, Index position, bool back = false) {
  std::vector<T> x(static_cast<std::size_t>(rope.rotary_dim()), T{1});
  const auto view = dca::contiguous(x.data(), {1, 1, rope.rotary_dim()});
  back ? dca::rotate_back(rope, std::span<const Index>(&position, 1), view)
       : dca::rotate(rope, std::span<const Index>(&position, 1), view);
  return x;
}

}  // namespace

TEMPLATE_TEST_CASE("rotation is off by what rounds a far position's angle, up to 2^53 to both sides", "", float,
                   double) {
  const dca_test::Ropes ropes = dca_test::make_ropes(12, 10000.0, 1.0, GENERATE(false, true));
  for (const Index position : edge_positions(52)) {
    const std::vector<TestType> y = turned<TestType>(ropes.library, position);
    const std::vector<double> ones(12, 1.0);
    const auto expected = dca_test::reference::rotated(ones.data(), 12, ropes.reference, position);
    for (std::size_t d = 0; d < 12; ++d) {
      // Pair m turns by position * inv_freq[m]; the largest frequency is 1.
      const double angle = std::ldexp(std::abs(static_cast<double>(position)), -52);
      INFO("position " << position << ", feature " << d);
      CHECK(std::abs(static_cast<double>(y[d]) - expected[d]) <= std::sqrt(2.0) * (turn_rounding<TestType>() + angle));
    }
  }
}

TEMPLATE_TEST_CASE("at 2^53, the last position that a double holds with all before it, exact angles turn exactly", "",
                   float, double) {
  // Powers of two: no angle rounds, so that only cosines, sines and their products do.
  const dca_test::reference::Rope exact{{1.0, 0x1p-7, 0x1p-20, 0x1p-50}};
  const dca::RotaryEmbedding rope({.inv_freq = exact.inv_freq});
  constexpr Index last = Index{1} << 53;
  for (const Index position : {last, last - 1, last - 4096, last / 3, -last, 1 - last, 4096 - last, -last / 3}) {
    const std::vector<TestType> y = turned<TestType>(rope, position);
    const std::vector<double> ones(8, 1.0);
    const auto expected = dca_test::reference::rotated(ones.data(), 8, exact, position);
    for (std::size_t d = 0; d < 8; ++d) {
      INFO("position " << position << ", feature " << d);
      CHECK(std::abs(static_cast<double>(y[d]) - expected[d]) <= std::sqrt(2.0) * turn_rounding<TestType>());
    }
  }
}

TEMPLATE_TEST_CASE("a negative position turns as far as its opposite, the other way, bit for bit", "", float, double) {
  const dca::RotaryEmbedding rope(dca::plain_frequencies(12, 10000.0),
                                  GENERATE(dca::RopePairing::half, dca::RopePairing::interleaved));
  for (const Index position : edge_positions(62)) {
    INFO("position " << position);
    CHECK(dca_test::same_bits(turned<TestType>(rope, position), turned<TestType>(rope, -position, true)));
  }
}

TEMPLATE_TEST_CASE("the highest and the lowest position that there are turn by their angle", "", float, double) {
  const dca_test::reference::Rope slow{{0x1p-62, 0x1p-55, 0x1p-50}};
  const dca::RotaryEmbedding rope({.inv_freq = slow.inv_freq});
  const double angle = std::ldexp(1.0, 63 - 50 - 52);  // one unit in the last place of the largest angle
  for (const Index position : {highest, highest - 4095, lowest, lowest + 1, lowest + 4096}) {
    const std::vector<TestType> y = turned<TestType>(rope, position);
    const std::vector<double> ones(6, 1.0);
    const auto expected = dca_test::reference::rotated(ones.data(), 6, slow, position);
    for (std::size_t d = 0; d < 6; ++d) {
      INFO("position " << position << ", feature " << d);
      CHECK(std::abs(static_cast<double>(y[d]) - expected[d]) <= std::sqrt(2.0) * (turn_rounding<TestType>() + angle));
    }
  }
}

TEMPLATE_TEST_CASE("how a position turns does not depend on those before it", "", float, double) {
  const dca::RotaryEmbedding rope(dca::plain_frequencies(12, 10000.0));
  dca_test::Random random;
  std::vector<Index> positions = edge_positions(62);
  for (int k = 0; k < 300; ++k) positions.push_back(random.integer(-5000, 5000));
  positions.insert(positions.end(), {lowest, highest, lowest + 1, -1, 0});
  for (std::size_t k = positions.size() - 1; k > 0; --k) {
    std::swap(positions[k], positions[static_cast<std::size_t>(random.integer(0, static_cast<Index>(k)))]);
  }
  std::vector<TestType> x(positions.size() * 12, TestType{1});
  dca::rotate(rope, std::span<const Index>(positions), dca::contiguous(x.data(), {std::ssize(positions), 1, 12}));
  for (std::size_t k = 0; k < positions.size(); ++k) {
    const auto row = x.begin() + static_cast<Index>(k * 12);
    INFO("position " << positions[k] << " after " << positions[k > 0 ? k - 1 : 0]);
    CHECK(dca_test::same_bits(turned<TestType>(rope, positions[k]), std::vector<TestType>(row, row + 12)));
  }
}
