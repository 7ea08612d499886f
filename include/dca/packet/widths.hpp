// What Eigen's packets lack: numbers of other widths from and to memory, packets of half the width.
#pragma once

#include "dca/packet/packet.hpp"

#if defined(EIGEN_VECTORIZE_AVX2) || defined(EIGEN_VECTORIZE_AVX512)
#include <immintrin.h>
#endif

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

// Whether small integers and bfloat16 become packets of floats, and whether halves do: AVX-512 has what the latter
// need, AVX2 leaves it to F16C.
#if defined(EIGEN_VECTORIZE_AVX512) || defined(EIGEN_VECTORIZE_AVX2)
#define DCA_WIDENS 1
#else
#define DCA_WIDENS 0
#endif
#if defined(EIGEN_VECTORIZE_AVX512) || (defined(EIGEN_VECTORIZE_AVX2) && defined(__F16C__))
#define DCA_WIDENS_HALF 1
#else
#define DCA_WIDENS_HALF 0
#endif

#if DCA_WIDENS
/// packet_size<float> small integers or halves at `place`, as floats.
struct Widen {
#if defined(EIGEN_VECTORIZE_AVX512)
  static EIGEN_ALWAYS_INLINE Packet<float> half(const void* place) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(place)));
  }
  static EIGEN_ALWAYS_INLINE Packet<float> bfloat16(const void* place) {
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(place)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  }
  static EIGEN_ALWAYS_INLINE Packet<float> int8(const void* place) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(place))));
  }
  /// Four bits of each byte, from bit `shift` on, less 8, times a scale: looked up, which takes no more bits than four.
  static EIGEN_ALWAYS_INLINE Packet<float> nibbles(const void* place, int shift, float scale) {
    const __m512i pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(place)));
    const __m512 numbers = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    return _mm512_permutexvar_ps(_mm512_srl_epi32(pairs, _mm_cvtsi32_si128(shift)),
                                 _mm512_mul_ps(numbers, _mm512_set1_ps(scale)));
  }
#else
#if DCA_WIDENS_HALF
  static EIGEN_ALWAYS_INLINE Packet<float> half(const void* place) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(place)));
  }
#endif
  static EIGEN_ALWAYS_INLINE Packet<float> bfloat16(const void* place) {
    // A shuffle within each half, which puts two bytes into the upper half of a float, is cheaper than widening.
    const __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(place)));
    const __m256i upper = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7,  //
                                           -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(twice, upper));
  }
  static EIGEN_ALWAYS_INLINE Packet<float> int8(const void* place) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(place))));
  }
  /// Four bits of each byte, from bit `shift` on, less 8, times a scale.
  static EIGEN_ALWAYS_INLINE Packet<float> nibbles(const void* place, int shift, float scale) {
    const __m256i pairs = _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(place)));
    const __m256i four = _mm256_and_si256(_mm256_srl_epi32(pairs, _mm_cvtsi32_si128(shift)), _mm256_set1_epi32(15));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(four, _mm256_set1_epi32(8))), _mm256_set1_ps(scale));
  }
#endif
};
#endif  // DCA_WIDENS

#if DCA_WIDENS_HALF
/// packet_size<float> floats as halves, rounded to nearest.
struct Narrow {
  static EIGEN_ALWAYS_INLINE void half(const Packet<float>& x, void* place) {
#if defined(EIGEN_VECTORIZE_AVX512)
    _mm256_storeu_si256(static_cast<__m256i*>(place), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#else
    _mm_storeu_si128(static_cast<__m128i*>(place), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#endif
  }
};
#endif  // DCA_WIDENS_HALF

/// Whether load_as makes packets of T from numbers of E.
template <class T, class E>
inline constexpr bool loads_as = std::is_same_v<T, E> ||
                                 (std::is_same_v<T, float> && ((DCA_WIDENS_HALF && std::is_same_v<E, Eigen::half>) ||
                                                               (DCA_WIDENS && std::is_same_v<E, Eigen::bfloat16>)));

/// packet_size<T> numbers at p, anywhere in memory, as T.
template <class T, class E>
EIGEN_ALWAYS_INLINE Packet<T> load_as(const E* p) {
  static_assert(loads_as<T, E>);
  if constexpr (std::is_same_v<T, E>) {
    return ei::ploadu<Packet<T>>(p);
  } else {
#if DCA_WIDENS_HALF
    if constexpr (std::is_same_v<E, Eigen::half>) return Widen::half(p);
#endif
#if DCA_WIDENS
    if constexpr (std::is_same_v<E, Eigen::bfloat16>) return Widen::bfloat16(p);
#endif
  }
}

/// The upper half of a wide packet added to its lower half. `can` says whether there is a way.
template <class P>
struct Fold {
  static constexpr bool can = false;
};
#if defined(EIGEN_VECTORIZE_AVX512)
template <>
struct Fold<Packet<float>> {
  static constexpr bool can = true;
  using Half = __m256;
  static EIGEN_ALWAYS_INLINE Half add(const Packet<float>& x) {
    return _mm256_add_ps(_mm512_castps512_ps256(x), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)));
  }
};
#endif

/// y[d] = x[d] * factor for d in [0, count), rounded to nearest.
template <class T, class O>
void write_scaled(const T* x, T factor, Index count, O* y) {
  Index d = 0;
  if constexpr (std::is_same_v<T, O>) {
    for (; d + packet_size<T> <= count; d += packet_size<T>) {
      ei::pstoreu(y + d, ei::pmul(ei::ploadu<Packet<T>>(x + d), broadcast(factor)));
    }
  }
#if DCA_WIDENS_HALF
  if constexpr (std::is_same_v<T, float> && std::is_same_v<O, Eigen::half>) {
    for (; d + packet_size<T> <= count; d += packet_size<T>) {
      Narrow::half(ei::pmul(ei::ploadu<Packet<T>>(x + d), broadcast(factor)), y + d);
    }
  }
#endif
  for (; d < count; ++d) y[d] = static_cast<O>(x[d] * factor);
}

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
