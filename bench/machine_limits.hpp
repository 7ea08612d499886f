// What this machine can do at best: fused multiply-adds per second, bytes read per second.
#pragma once

#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "dca/device/scratch.hpp"
#include "dca/packet/packet.hpp"

#if !defined(__GNUC__)
#error "the benchmarks measure the machine's peak with GNU inline assembly"
#endif

namespace dca::bench {

using Clock = std::chrono::steady_clock;

/// Seconds from the first thread's start to the last one's end, the shortest of a few rounds, of body(thread) on each
/// of `threads` threads.
inline double best_seconds(int threads, int rounds, const std::function<void(int)>& body) {
  std::vector<Clock::time_point> begin(static_cast<std::size_t>(threads)), end(begin.size());
  std::barrier start(threads);
  double best = 1e300;
  for (int round = 0; round < rounds; ++round) {
    const auto work = [&](int thread) {
      start.arrive_and_wait();
      begin[static_cast<std::size_t>(thread)] = Clock::now();
      body(thread);
      end[static_cast<std::size_t>(thread)] = Clock::now();
    };
    std::vector<std::thread> helpers;
    for (int thread = 1; thread < threads; ++thread) helpers.emplace_back(work, thread);
    work(0);
    for (std::thread& helper : helpers) helper.join();
    const auto wall = *std::max_element(end.begin(), end.end()) - *std::min_element(begin.begin(), begin.end());
    best = std::min(best, std::chrono::duration<double>(wall).count());
  }
  return best;
}

/// Independent sums of the loops below: enough to hide the latency of two units (4 to 6 cycles each).
inline constexpr int fma_chains = 12;

// The x86 loops are written in assembly because compilers fold such loops, or split them onto fewer registers.
// Registers are cleared first: sums of denormals would be slow on some processors.
#define DCA_BENCH_EACH_CHAIN(STEP) \
  STEP("1")                        \
  STEP("2") STEP("3") STEP("4") STEP("5") STEP("6") STEP("7") STEP("8") STEP("9") STEP("10") STEP("11") STEP("12")
#define DCA_BENCH_LOOP(STEP) \
  asm volatile(DCA_BENCH_CLEAR("0") DCA_BENCH_EACH_CHAIN(DCA_BENCH_CLEAR) "1:\n" DCA_BENCH_EACH_CHAIN(STEP)      \
               "dec %0\n"                                                                                        \
               "jnz 1b\n"                                                                                        \
               : "+r"(steps)::"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",    \
                 "xmm10", "xmm11", "xmm12", "cc")

#if defined(__x86_64__) && defined(__FMA__)
#if defined(EIGEN_VECTORIZE_AVX512)
#define DCA_BENCH_REGISTER "%%zmm"
inline constexpr const char* fma_peak_method = "12 chains of vfmadd231 on zmm registers, in assembly";
#else
#define DCA_BENCH_REGISTER "%%ymm"
inline constexpr const char* fma_peak_method = "12 chains of vfmadd231 on ymm registers, in assembly";
#endif
#define DCA_BENCH_CLEAR(K) "vxorps %%xmm" K ",%%xmm" K ",%%xmm" K "\n"
#define DCA_BENCH_FMA(OP, K) OP " " DCA_BENCH_REGISTER "0," DCA_BENCH_REGISTER "0," DCA_BENCH_REGISTER K "\n"
#define DCA_BENCH_SINGLE(K) DCA_BENCH_FMA("vfmadd231ps", K)
#define DCA_BENCH_DOUBLE(K) DCA_BENCH_FMA("vfmadd231pd", K)
inline constexpr int flops_per_chain_and_lane = 2;

template <class T>
void fma_loop(long steps) {
  if constexpr (sizeof(T) == sizeof(float)) {
    DCA_BENCH_LOOP(DCA_BENCH_SINGLE);
  } else {
    DCA_BENCH_LOOP(DCA_BENCH_DOUBLE);
  }
  asm volatile("vzeroupper");
}

#elif defined(__x86_64__) && !defined(__AVX__)
// No fused multiply-add to be had: alternating multiplications and additions, one operation per lane.
inline constexpr const char* fma_peak_method = "12 chains of mul and add in turn on xmm registers, in assembly";
#define DCA_BENCH_CLEAR(K) "xorps %%xmm" K ",%%xmm" K "\n"
#define DCA_BENCH_SINGLE(K) "mulps %%xmm0,%%xmm" K "\naddps %%xmm0,%%xmm" K "\n"
#define DCA_BENCH_DOUBLE(K) "mulpd %%xmm0,%%xmm" K "\naddpd %%xmm0,%%xmm" K "\n"
inline constexpr int flops_per_chain_and_lane = 2;

template <class T>
void fma_loop(long steps) {
  if constexpr (sizeof(T) == sizeof(float)) {
    DCA_BENCH_LOOP(DCA_BENCH_SINGLE);
  } else {
    DCA_BENCH_LOOP(DCA_BENCH_DOUBLE);
  }
}

#else
inline constexpr const char* fma_peak_method = "12 chains of Eigen's pmadd, compiled, behind a barrier";
inline constexpr int flops_per_chain_and_lane = 2;

/// Keeps a packet in its register and the compiler from knowing what is in it.
template <class Packet>
void forget(Packet& x) {
#if defined(__aarch64__)
  asm volatile("" : "+w"(x));
#elif defined(__powerpc__)
  asm volatile("" : "+wa"(x));
#elif defined(__x86_64__)
  asm volatile("" : "+x"(x));
#else
  asm volatile("" : "+m"(x));
#endif
}

template <class T>
void fma_loop(long steps) {
  detail::Packet<T> factor = detail::broadcast(T{0});
  detail::Packet<T> sums[fma_chains];
  for (auto& sum : sums) sum = factor;
  forget(factor);
  for (; steps > 0; --steps) {
    detail::unroll<fma_chains>([&](auto k) {
      sums[k] = detail::ei::pmadd(factor, factor, sums[k]);
      forget(sums[k]);
    });
  }
}
#endif

#undef DCA_BENCH_EACH_CHAIN
#undef DCA_BENCH_LOOP
#undef DCA_BENCH_REGISTER
#undef DCA_BENCH_CLEAR
#undef DCA_BENCH_FMA
#undef DCA_BENCH_SINGLE
#undef DCA_BENCH_DOUBLE

/// FLOP/s of `threads` threads that do nothing but multiply and add on the widest registers compiled for; best of
/// `rounds` rounds of about 15 ms.
template <class T>
double fma_peak(int threads, int rounds = 10) {
  constexpr long steps = 8'000'000;
  const double flops = static_cast<double>(steps) * fma_chains * flops_per_chain_and_lane * detail::packet_size<T>;
  return threads * flops / best_seconds(threads, rounds, [](int) { fma_loop<T>(steps); });
}

/// Bytes per second that `threads` threads read from memory, best of a few rounds; on huge pages where the system
/// grants them, as the library's caches. They share 256 MiB, as much as a large key/value cache: of two or three times
/// a processor's cache, that would serve a part.
inline double read_bandwidth(int threads) {
  const Index floats = (Index{64} << 20) / threads;
  const detail::AlignedBytes bytes(floats * threads * static_cast<Index>(sizeof(float)));
  Eigen::Map<Eigen::ArrayXf> memory(reinterpret_cast<float*>(bytes.data()), floats * threads);
  memory.setOnes();
  std::vector<float> sums(static_cast<std::size_t>(threads));
  const double seconds = best_seconds(threads, 7, [&](int thread) {
    sums[static_cast<std::size_t>(thread)] = memory.segment(floats * thread, floats).sum();
    asm volatile("" : : "r"(sums.data()) : "memory");
  });
  return static_cast<double>(floats) * threads * sizeof(float) / seconds;
}

}  // namespace dca::bench
