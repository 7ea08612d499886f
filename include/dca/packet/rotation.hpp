// Rotation by packets: pairs of features by cosines and sines, which are made by adding angles.
#pragma once

#include <cstring>
#include <new>

#include "dca/packet/packet.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// Two numbers that turn together, or packets of them.
template <class P>
struct Pair {
  P first, second;
};

/// A pair, turned by an angle of this cosine and sine; of packets or scalars.
template <class P>
EIGEN_ALWAYS_INLINE Pair<P> turned(const Pair<P>& x, const P& cosine, const P& sine) {
  return {ei::pmadd(x.first, cosine, ei::pnegate(ei::pmul(x.second, sine))),
          ei::pmadd(x.second, cosine, ei::pmul(x.first, sine))};
}

#if defined(__has_builtin) && defined(EIGEN_VECTORIZE) && EIGEN_ARCH_x86_64
#if __has_builtin(__builtin_shufflevector)
#define DCA_SHUFFLES 1
#endif
#endif
#if !defined(DCA_SHUFFLES)
#define DCA_SHUFFLES 0
#endif

/// Whether load_pairs knows a way.
template <class T>
inline constexpr bool splits_pairs = DCA_SHUFFLES == 1 && packet_size<T> > 1;

#if DCA_SHUFFLES
template <class T, int... I>
EIGEN_ALWAYS_INLINE Pair<Packet<T>> load_pairs(const T* x, std::integer_sequence<int, I...>) {
  const Packet<T> low = ei::ploadu<Packet<T>>(x), high = ei::ploadu<Packet<T>>(x + sizeof...(I));
  return {__builtin_shufflevector(low, high, 2 * I...), __builtin_shufflevector(low, high, 2 * I + 1 ...)};
}
#endif

/// The pairs of 2 * packet_size numbers.
template <class T>
EIGEN_ALWAYS_INLINE Pair<Packet<T>> load_pairs(const T* x) {
  return load_pairs<T>(x, std::make_integer_sequence<int, packet_size<T>>{});
}

/// Turns `pairs` pairs of features: pair m of x is x[m * XStride], x[m * XStride + x_distance], likewise of y (which
/// may be x, with the same placement).
template <Index XStride, Index YStride, class X, class T, class Y>
EIGEN_ALWAYS_INLINE void turn_pairs(const X* x, Index x_distance, const T* __restrict cosine, const T* __restrict sine,
                                    Y* y, Index y_distance, Index pairs) {
  Index m = 0;
  constexpr bool alike = std::is_same_v<X, T> && std::is_same_v<Y, T>;
  if constexpr (alike && YStride == 1 && (XStride == 1 || splits_pairs<T>)) {
    constexpr Index size = packet_size<T>;
    for (; m + size <= pairs; m += size) {
      Pair<Packet<T>> pair;
      if constexpr (XStride == 1) {
        pair = {ei::ploadu<Packet<T>>(x + m), ei::ploadu<Packet<T>>(x + m + x_distance)};
      } else {
        pair = load_pairs(x + m * XStride);
      }
      pair = turned<Packet<T>>(pair, ei::ploadu<Packet<T>>(cosine + m), ei::ploadu<Packet<T>>(sine + m));
      ei::pstoreu(y + m, pair.first);
      ei::pstoreu(y + m + y_distance, pair.second);
    }
  }
  for (; m < pairs; ++m) {
    Pair<T> pair{static_cast<T>(x[m * XStride]), static_cast<T>(x[m * XStride + x_distance])};
    pair = turned<T>(pair, cosine[m], sine[m]);
    y[m * YStride] = static_cast<Y>(pair.first);
    y[m * YStride + y_distance] = static_cast<Y>(pair.second);
  }
}

#if DCA_SHUFFLES
/// As many doubles as floats, rounded.
typedef float HalfPacket __attribute__((vector_size(packet_size<double> * sizeof(float))));

template <int... I>
EIGEN_ALWAYS_INLINE void store_doubles(float* place, const Packet<double>& x, const Packet<double>& y,
                                       std::integer_sequence<int, I...>) {
  const auto floats =
      __builtin_shufflevector(__builtin_convertvector(x, HalfPacket), __builtin_convertvector(y, HalfPacket), I...);
  std::memcpy(place, &floats, sizeof(floats));
}
#endif

/// Stores two packets of doubles as numbers of T: floats in one piece, because a load of both would wait for two.
template <class T>
EIGEN_ALWAYS_INLINE void store_doubles(T* place, const Packet<double>& x, const Packet<double>& y) {
  constexpr int size = packet_size<double>;
  if constexpr (std::is_same_v<T, double>) {
    ei::pstoreu(place, x);
    ei::pstoreu(place + size, y);
  } else if constexpr (splits_pairs<float> && size > 1) {
    store_doubles(place, x, y, std::make_integer_sequence<int, 2 * size>{});
  } else {
    double wide[2 * size];
    ei::pstoreu(wide, x);
    ei::pstoreu(wide + size, y);
    for (int k = 0; k < 2 * size; ++k) place[k] = static_cast<T>(wide[k]);
  }
}

/// Memory of a std::vector that begins on a cache line, so that none of its packets lies on two.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};

  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>&) {}

  T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), line)); }
  void deallocate(T* place, std::size_t) { ::operator delete(place, line); }
  friend bool operator==(const LineAllocator&, const LineAllocator&) { return true; }
};

/// Angles, their cosines and their sines: three runs of one number for each pair, of which there are whole packets.
struct Turn {
  /// Pairs are padded to a multiple of so many, at least two packets of doubles.
  static constexpr Index multiple = 16;
  static_assert(multiple % (2 * packet_size<double>) == 0);

  const double* angle;
  Index pairs;

  const double* cosine() const { return angle + pairs; }
  const double* sine() const { return angle + 2 * pairs; }
};

/// Cosines and sines of `angle`, which is, but for rounding, the sum of the angles of turns a and b. That rounding is
/// made good unless T is float, where it would not be seen.
template <class T>
EIGEN_ALWAYS_INLINE void add_turns(const double* angle, const Turn& a, const Turn& b, T* cosine, T* sine) {
  constexpr Index size = packet_size<double>;
  const auto at = [](const double* x, Index m) DCA_INLINE { return ei::ploadu<Packet<double>>(x + m); };
  const auto sum_at = [&](Index m) DCA_INLINE {
    const Pair<Packet<double>> turn{at(a.cosine(), m), at(a.sine(), m)};
    Pair<Packet<double>> sum = turned<Packet<double>>(turn, at(b.cosine(), m), at(b.sine(), m));
    if constexpr (sizeof(T) > sizeof(float)) {
      const Packet<double> rounding = ei::psub(ei::psub(at(angle, m), at(a.angle, m)), at(b.angle, m));
      sum = {ei::pmadd(ei::pnegate(rounding), sum.second, sum.first), ei::pmadd(rounding, sum.first, sum.second)};
    }
    return sum;
  };
  for (Index m = 0; m < a.pairs; m += 2 * size) {
    const Pair<Packet<double>> low = sum_at(m), high = sum_at(m + size);
    store_doubles(cosine + m, low.first, high.first);
    store_doubles(sine + m, low.second, high.second);
  }
}

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
