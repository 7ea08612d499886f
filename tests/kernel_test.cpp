// The exponential, over its whole range, the scratch that a call takes, and how few rows are shared out.
#include <dca/kernel/plan/row_tasks.hpp>
#include <dca/packet/exponential.hpp>

#include <atomic>
#include <bit>
#include <cmath>
#include <iterator>
#include <mutex>
#include <vector>

#include "support/catch.hpp"
#include "support/counting_allocator.hpp"
#include "support/problem.hpp"

using namespace dca_test;

namespace {

template <class T>
T exp2_of(T x) {
  T values[64 / sizeof(T)];
  dca::detail::ei::pstoreu(values, dca::detail::exp2_nonpositive<T>(dca::detail::broadcast(x)));
  return values[0];
}

template <class T>
std::size_t scratch(Index kv_len, Index q_len, Index head_dim, int threads) {
  Random random;
  const Inputs<T> in({1, q_len, kv_len, 1, 1, head_dim, head_dim}, random);
  CountingAllocator allocator;
  Eigen::ThreadPool pool(threads);
  run(make_chunked<dca::DualChunkAttention<T>>({6144, 1024}, head_dim), in, {},
      Eigen::ThreadPoolDevice(&pool, threads, &allocator));
  return allocator.largest;
}

/// Of exp2_nonpositive.
template <class T>
constexpr double documented_error = sizeof(T) == 4 ? 2e-7 : 4.5e-16;

/// Two parts: the keys of a query's chunk, and those before.
struct Chunks {
  Index length;
};
struct OwnChunk {
  using Layout = Chunks;
  static Index query_position(const Chunks&, Index i) { return i; }
  static Index key_position(const Chunks&, Index j) { return j; }
  static dca::KeyRange keys(const Chunks& chunks, Index i) { return {i / chunks.length * chunks.length, i + 1}; }
};
struct EarlierChunks {
  using Layout = Chunks;
  static Index query_position(const Chunks&, Index i) { return i; }
  static Index key_position(const Chunks&, Index j) { return j; }
  static dca::KeyRange keys(const Chunks& chunks, Index i) { return {0, i / chunks.length * chunks.length}; }
};

}  // namespace

TEST_CASE("the exponential is within 2e-7 of the true one on a dense sweep of bit patterns") {
  double worst = 0;
  // Natural arguments in [-87.3, 0]; every 37th float.
  const auto last = std::bit_cast<std::uint32_t>(-87.3f);
  for (std::uint32_t bits = std::bit_cast<std::uint32_t>(-0.0f); bits <= last;
       bits += bits < 0xb0000000u ? 100003u : 37u) {
    const float x = static_cast<float>(static_cast<double>(std::bit_cast<float>(bits)) * 1.4426950408889634);
    const float y = exp2_of(x);
    const double exact = std::exp2(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(y) - exact) / exact);
    if (y > 1.0f) FAIL("above 1 at " << x);
  }
  CHECK(worst <= documented_error<float>);
}

TEMPLATE_TEST_CASE("the exponential is exact at 0, 0 far below, and NaN at NaN", "", float, double) {
  const TestType lowest = std::numeric_limits<TestType>::lowest(), infinity = std::numeric_limits<TestType>::infinity();
  CHECK(exp2_of(TestType(0)) == 1);
  CHECK(exp2_of(-infinity) == 0);
  CHECK(exp2_of(lowest) == 0);
  CHECK(exp2_of(TestType(-1100)) == 0);
  CHECK(std::isnan(exp2_of(std::numeric_limits<TestType>::quiet_NaN())));
  if constexpr (sizeof(TestType) == 4) CHECK(exp2_of(-127.0f) == 0);
  for (TestType x = TestType(-0.001); x > -100; x *= TestType(1.01)) {
    CHECK(static_cast<double>(exp2_of(x)) ==
          Approx(std::exp2(static_cast<double>(x))).epsilon(documented_error<TestType>));
  }
}

TEMPLATE_TEST_CASE("scratch per thread is at most 4 MiB and does not grow with the length", "", float, double) {
  const std::size_t near = scratch<TestType>(4096, 4096, 128, 1);
  CHECK(near <= (std::size_t{4} << 20));
  CHECK(scratch<TestType>(65536, 4096, 128, 1) == near);
  CHECK(scratch<TestType>(4096, 4096, 128, 2) <= 2 * near + 64);
}

TEST_CASE("tasks of few rows cover them in order, and take the workers about equally long") {
  Random random;
  for (int trial = 0; trial < 300; ++trial) {
    const Index group = random.integer(1, 4), unit = random.integer(1, 16), most = unit * random.integer(8, 100);
    const Index rows = random.integer(17, 3000), position = random.integer(0, 1) * random.integer(0, 5000);
    const Index workers = random.integer(2, 9), sequences = random.integer(1, 5), chunk_len = random.integer(50, 4000);
    const Chunks chunks{chunk_len};
    const dca::detail::Composition parts = dca::detail::composition_of<OwnChunk, EarlierChunks>(chunks);
    const dca::detail::EvenTasks tasks(parts, rows, group, position, unit, most);
    const dca::detail::TaskWork work = tasks.work_of_tasks(sequences, workers);
    INFO("rows " << rows << ", group " << group << ", position " << position << ", unit " << unit << ", most " << most
                 << ", workers " << workers << ", sequences " << sequences << ", chunk_len " << chunk_len);
    Index first = 0, count = 0;
    while (first < rows) {
      const Index last = tasks.end(first, work.of(count));
      REQUIRE(last > first);
      REQUIRE(last - first <= most);
      REQUIRE((last == rows || (last - first) % unit == 0));
      first = last;
      ++count;
    }
    REQUIRE(first == rows);
    REQUIRE(count <= std::max(workers, (rows + most - 1) / most) + work.small);
  }
  const dca::Unchunked whole;
  const dca::detail::Composition causal = dca::detail::composition_of<dca::WholeSequence>(whole);
  const dca::detail::EvenTasks tasks(causal, 512, 1, 0, 16, 1536);
  const auto even = [&](Index sequences, Index workers) {
    const dca::detail::TaskWork work = tasks.work_of_tasks(sequences, workers);
    CHECK(work.small == 0);
    return work.most;
  };
  const double half = even(1, 2), quarter = even(1, 4);
  CHECK(tasks.end(0, half) > 300);  // the first half of the work is more than half of the rows
  CHECK(tasks.end(0, half) < 400);
  CHECK(tasks.end(tasks.end(0, half), half) == 512);
  CHECK(tasks.end(0, quarter) < tasks.end(0, half));
  CHECK(tasks.end(0, even(2, 2)) == 512);  // one for each of two sequences
}

TEST_CASE("many workers that share long sequences find small tasks at the end") {
  const dca::Unchunked whole;
  const dca::detail::Composition causal = dca::detail::composition_of<dca::WholeSequence>(whole);
  const Index rows = 8192, workers = 16;
  const dca::detail::EvenTasks tasks(causal, rows, 1, 0, 16, 1536);
  const dca::detail::TaskWork work = tasks.work_of_tasks(1, workers);
  REQUIRE(work.small == workers);
  CHECK(tasks.work_of_tasks(1, 2).small == 0);  // two seldom wait long for each other
  CHECK(tasks.work_of_tasks(3, 8).small == 0);  // with three tasks each nobody waits long
  std::vector<Index> first{0};
  while (first.back() < rows) first.push_back(tasks.end(first.back(), work.of(std::ssize(first) - 1)));
  const Index count = std::ssize(first) - 1;
  REQUIRE(count <= 2 * workers);
  CHECK(count >= 2 * workers - 1);
  const auto pairs = [&](Index block) {  // of a row and a key that it sees
    const auto triangle = [](Index n) { return static_cast<double>(n) * static_cast<double>(n + 1) / 2; };
    return triangle(first[static_cast<std::size_t>(block) + 1]) - triangle(first[static_cast<std::size_t>(block)]);
  };
  const double even = pairs(workers);  // the first that is not small
  for (Index block = 1; block < count - 1; ++block) {
    INFO("block " << block << " of rows [" << first[static_cast<std::size_t>(block)] << ", "
                  << first[static_cast<std::size_t>(block) + 1] << ")");
    CHECK(pairs(block) < (block < workers ? 0.35 : 1.25) * even);
    CHECK(pairs(block) > (block < workers ? 0.1 : 0.75) * even);
  }
}
