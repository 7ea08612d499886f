// The exponential, over its whole range, and the scratch that a call takes.
#include <atomic>
#include <bit>
#include <cmath>
#include <mutex>

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

}  // namespace

TEST_CASE("the exponential is within 4e-7 of exp on a dense sweep of bit patterns") {
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
  CHECK(worst <= 4e-7);
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
          Approx(std::exp2(static_cast<double>(x))).epsilon(sizeof(TestType) == 4 ? 4e-7 : 1e-15));
  }
}

TEMPLATE_TEST_CASE("scratch per thread is at most 4 MiB and does not grow with the length", "", float, double) {
  const std::size_t near = scratch<TestType>(4096, 4096, 128, 1);
  CHECK(near <= (std::size_t{4} << 20));
  CHECK(scratch<TestType>(65536, 4096, 128, 1) == near);
  CHECK(scratch<TestType>(4096, 4096, 128, 2) <= 2 * near + 64);
}
