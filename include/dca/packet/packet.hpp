// The machine's vectors, as Eigen knows them, and the register tile that fits them.
#pragma once

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "dca needs IEEE arithmetic: infinities mark masked scores. Compile without -ffast-math / -ffinite-math-only."
#endif

#include <Eigen/Core>
#include <type_traits>
#include <utility>

#include "dca/instruction_set/one_for_all_files.hpp"
#include "dca/tensor/index.hpp"

namespace dca {

/// The widest vector of T that this translation unit is compiled for, one of Eigen's packets; T itself where there is
/// none.
template <class T>
using Packet = typename Eigen::internal::packet_traits<T>::type;

namespace detail {

namespace ei = Eigen::internal;

template <class T>
inline constexpr int packet_size = ei::unpacket_traits<Packet<T>>::size;

/// 32 vector registers, as AVX-512 and NEON have, and not 16.
inline constexpr bool many_registers = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32;

/// A register tile: `rows` broadcast values times `vectors` packets. rows * vectors accumulators, the vectors and a
/// broadcast must fit the registers; the wider the vectors' side, the fewer the broadcasts.
struct RegisterTile {
  int rows;
  int vectors;
};

inline constexpr RegisterTile register_tile = many_registers ? RegisterTile{8, 3} : RegisterTile{4, 3};

/// Query rows of a full panel: the lanes of a register tile's vectors.
template <class T>
inline constexpr Index panel_rows = Index{register_tile.vectors} * packet_size<T>;

template <class F, int... I>
EIGEN_ALWAYS_INLINE void unroll_over(F&& f, std::integer_sequence<int, I...>) {
  (f(I), ...);
}

/// Calls f(0), ..., f(N - 1), for an f that is always inlined: unrolled whatever the compiler's flags, so that arrays
/// of packets stay in registers. A plain int, so that f is compiled once and not for each value.
template <int N, class F>
EIGEN_ALWAYS_INLINE void unroll(F&& f) {
  unroll_over(f, std::make_integer_sequence<int, N>{});
}

/// Calls f(0), f(Step), ..., below `end`, for an f that is always inlined: four at a time, whatever the compiler's
/// flags.
template <Index Step, class F>
EIGEN_ALWAYS_INLINE void unroll_by_4(Index end, F&& f) {
  Index k = 0;
  // As it stands: clang would unroll it by eight more, and leave rows of up to 128 features to a slow remainder.
#if defined(__clang__)
#pragma clang loop unroll(disable)
#endif
  for (; k + 3 * Step < end; k += 4 * Step) {
    unroll<4>([&](int step) { f(k + step * Step); });
  }
  for (; k < end; k += Step) f(k);
}

/// x, of which the compiler then knows nothing.
template <class X>
EIGEN_ALWAYS_INLINE X unknown(X x) {
#if defined(__GNUC__)
  asm volatile("" : "+r"(x));
#endif
  return x;
}

enum class Access { read, write };

/// Asks for memory that will soon be read, or written, where the compiler knows how: into the second-level cache, since
/// requests of the first-level one are few and needed for what is read now.
template <Access access = Access::read>
EIGEN_ALWAYS_INLINE void prefetch([[maybe_unused]] const void* place, [[maybe_unused]] Index bytes) {
#if defined(__GNUC__)
  constexpr Index line = 64;
  constexpr int second_level = 2;
  for (Index byte = 0; byte < bytes; byte += line) {
    __builtin_prefetch(static_cast<const std::byte*>(place) + byte, access == Access::write ? 1 : 0, second_level);
  }
#endif
}

template <class T>
EIGEN_ALWAYS_INLINE Packet<T> load(const T* p) {
  return ei::pload<Packet<T>>(p);
}

/// load, into a register for sure: where registers are scarce, g++ reads a packet from memory again at each of its
/// uses, and the loads take longer than the multiply-adds that they are for.
template <class T>
EIGEN_ALWAYS_INLINE Packet<T> load_to_register(const T* p) {
  Packet<T> packet = load(p);
#if defined(__GNUC__) && EIGEN_ARCH_x86_64
  constexpr int lanes = packet_size<T>;
  if constexpr (lanes > 1) asm("" : "+v"(packet));
#endif
  return packet;
}

template <class T>
EIGEN_ALWAYS_INLINE void store(T* p, const Packet<T>& x) {
  ei::pstore(p, x);
}

template <class T>
EIGEN_ALWAYS_INLINE Packet<T> broadcast(T x) {
  return ei::pset1<Packet<T>>(x);
}

/// x[k] *= factor for k in [0, count).
template <class T>
EIGEN_ALWAYS_INLINE void multiply_by(T factor, T* x, Index count) {
  constexpr int size = packet_size<T>;
  Index k = 0;
  for (; k + size <= count; k += size) ei::pstoreu(x + k, ei::pmul(ei::ploadu<Packet<T>>(x + k), broadcast(factor)));
  for (; k < count; ++k) x[k] *= factor;
}

/// Looks for infinities and NaN.
template <class T>
class NonFinite {
 public:
  /// Among x [count].
  EIGEN_ALWAYS_INLINE void look(const T* x, Index count) {
    constexpr int size = packet_size<T>;
    Index k = 0;
    for (; k + size <= count; k += size) {
      const Packet<T> some = ei::ploadu<Packet<T>>(x + k);
      zeros_ = ei::por(zeros_, ei::psub(some, some));
    }
    for (; k < count; ++k) zero_ += x[k] - x[k];
  }

  /// Whether there were any.
  bool any() const { return !(ei::predux(zeros_) + zero_ == T{0}); }

 private:
  // x - x is 0 for finite x, NaN otherwise. Joining bits keeps a NaN, and takes less time than adding.
  Packet<T> zeros_ = broadcast(T{0});
  T zero_{0};
};

}  // namespace detail
}  // namespace dca
