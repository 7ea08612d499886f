// Products of 16-bit integers, added up exactly in 32 bits.
#pragma once

#include <cstdint>

#include "dca/packet/widths.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

// Whether there are such products by packets.
#if (defined(EIGEN_VECTORIZE_AVX512) && defined(__AVX512BW__)) || \
    (!defined(EIGEN_VECTORIZE_AVX512) && defined(EIGEN_VECTORIZE_AVX2))
#define DCA_MULTIPLIES_INTEGERS 1
#else
#define DCA_MULTIPLIES_INTEGERS 0
#endif

#if DCA_MULTIPLIES_INTEGERS
/// The lower and the upper halves of some bytes.
template <class P>
struct Nibbles {
  P low, high;
};

/// `count` 16-bit integers, and as many sums as a packet has floats, of the products of two each.
struct Words {
  static constexpr int count = 2 * packet_size<float>;

#if defined(EIGEN_VECTORIZE_AVX512)
  using Packet16 = __m512i;
  using Sums = __m512i;

  static EIGEN_ALWAYS_INLINE Sums zero() { return _mm512_setzero_si512(); }
  static EIGEN_ALWAYS_INLINE Packet16 load(const std::int16_t* place) { return _mm512_loadu_si512(place); }
  static EIGEN_ALWAYS_INLINE Sums load_sums(const std::int32_t* place) { return _mm512_loadu_si512(place); }
  static EIGEN_ALWAYS_INLINE Packet16 int8(const void* place) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(static_cast<const __m256i*>(place)));
  }
  /// The halves of `count` bytes, without signs.
  static EIGEN_ALWAYS_INLINE Nibbles<Packet16> nibbles(const void* place) {
    const __m512i pairs = _mm512_cvtepu8_epi16(_mm256_loadu_si256(static_cast<const __m256i*>(place)));
    return {_mm512_and_si512(pairs, _mm512_set1_epi16(15)), _mm512_srli_epi16(pairs, 4)};
  }
  /// What sums of the halves of bytes are multiplied by, where 16 of these share a number.
  static EIGEN_ALWAYS_INLINE Packet<float> each_for_16(const float* numbers) {
    return _mm512_mask_broadcastss_ps(_mm512_set1_ps(numbers[0]), 0xff00, _mm_load_ss(numbers + 1));
  }
  static EIGEN_ALWAYS_INLINE Sums add_products(const Packet16& x, const Packet16& y, const Sums& sums) {
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sums, x, y);
#else
    return _mm512_add_epi32(sums, _mm512_madd_epi16(x, y));
#endif
  }
  static EIGEN_ALWAYS_INLINE Packet<float> floats(const Sums& sums) { return _mm512_cvtepi32_ps(sums); }
  /// Writes x [count] * factor, rounded to nearest.
  static EIGEN_ALWAYS_INLINE void round(const float* x, float factor, std::int16_t* place) {
    for (int half = 0; half < 2; ++half) {
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * half), _mm512_set1_ps(factor)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(place + 16 * half), _mm512_cvtsepi32_epi16(whole));
    }
  }
#else
  using Packet16 = __m256i;
  using Sums = __m256i;

  static EIGEN_ALWAYS_INLINE Sums zero() { return _mm256_setzero_si256(); }
  static EIGEN_ALWAYS_INLINE Packet16 load(const std::int16_t* place) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(place));
  }
  static EIGEN_ALWAYS_INLINE Sums load_sums(const std::int32_t* place) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(place));
  }
  static EIGEN_ALWAYS_INLINE Packet16 int8(const void* place) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(place)));
  }
  static EIGEN_ALWAYS_INLINE Nibbles<Packet16> nibbles(const void* place) {
    const __m256i pairs = _mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(place)));
    return {_mm256_and_si256(pairs, _mm256_set1_epi16(15)), _mm256_srli_epi16(pairs, 4)};
  }
  static EIGEN_ALWAYS_INLINE Packet<float> each_for_16(const float* numbers) { return _mm256_set1_ps(*numbers); }
  static EIGEN_ALWAYS_INLINE Sums add_products(const Packet16& x, const Packet16& y, const Sums& sums) {
#if defined(__AVXVNNI__)
    return _mm256_dpwssd_avx_epi32(sums, x, y);
#else
    return _mm256_add_epi32(sums, _mm256_madd_epi16(x, y));
#endif
  }
  static EIGEN_ALWAYS_INLINE Packet<float> floats(const Sums& sums) { return _mm256_cvtepi32_ps(sums); }
  static EIGEN_ALWAYS_INLINE void round(const float* x, float factor, std::int16_t* place) {
    const auto whole = [&](const float* from) {
      return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from), _mm256_set1_ps(factor)));
    };
    const __m256i in_halves = _mm256_packs_epi32(whole(x), whole(x + 8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(place), _mm256_permute4x64_epi64(in_halves, 0xd8));
  }
#endif
};
#endif  // DCA_MULTIPLIES_INTEGERS

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
