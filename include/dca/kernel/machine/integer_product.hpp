// Queries as 16-bit integers, and their products with keys of small integers.
#pragma once

#include "dca/kv/small_integers.hpp"
#include "dca/packet/integer_dot.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// Whether rows of E are multiplied as integers where queries are numbers of T.
template <class T, class E>
inline constexpr bool has_integer_product = DCA_MULTIPLIES_INTEGERS == 1 && std::is_same_v<T, float> &&
                                            (std::is_same_v<E, Int8> || std::is_same_v<E, Int4>);

#if DCA_MULTIPLIES_INTEGERS

/// A query of floats, rounded to 16-bit integers with a scale of its own: it is off by at most its largest magnitude /
/// 65534, so that features next to large ones keep eight bits and more.
class IntegerQuery {
 public:
  static Index bytes(Index features) {
    return header + round_up(features * static_cast<Index>(sizeof(std::int16_t)), header);
  }

  static float scale(const std::byte* row) { return *reinterpret_cast<const float*>(row); }
  static const std::int16_t* words(const std::byte* row) { return reinterpret_cast<const std::int16_t*>(row + header); }
  static std::int16_t* words(std::byte* row) { return reinterpret_cast<std::int16_t*>(row + header); }

  /// Writes a query. False where integers will not do: it is not finite, or sums could overflow.
  static bool pack(const float* query, Index features, std::byte* row) {
    constexpr float most = 32767;
    constexpr int size = packet_size<float>;
    if (features > most_features) return false;
    NonFinite<float> non_finite;
    non_finite.look(query, features);
    if (non_finite.any()) return false;
    Packet<float> largest = broadcast(0.0f);
    for (Index d = 0; d < features; d += size)
      largest = ei::pmax(largest, ei::pabs(ei::ploadu<Packet<float>>(query + d)));
    const QuantScale quantise(ei::predux_max(largest), most);
    *reinterpret_cast<float*>(row) = quantise.scale;
    for (Index d = 0; d < features; d += Words::count) Words::round(query + d, quantise.inverse, words(row) + d);
    return true;
  }

 private:
  // 512 products of 32767 and 127 in each sum are just below 2^31.
  static constexpr Index most_features = 512 * packet_size<float>;
  static constexpr Index header = 64;  // the scale, and the rest of its cache line
};

/// As NumberProduct, with rows of E as integers. Features must be a multiple of `step`.
template <class E>
struct IntegerProduct;

template <>
struct IntegerProduct<Int8> {
  using Scalar = float;
  using Storage = Int8;
  using Query = Words::Packet16;
  using Key = Words::Packet16;
  using Sum = Words::Sums;
  static constexpr int step = Words::count;
  static constexpr bool scales_queries = true;

  static Index query_bytes(Index features) { return IntegerQuery::bytes(features); }
  static bool pack(const float* query, Index features, std::byte* row) {
    return IntegerQuery::pack(query, features, row);
  }
  static float query_scale(const std::byte* row) { return IntegerQuery::scale(row); }
  static EIGEN_ALWAYS_INLINE Query query(const std::byte* row, Index, Index d) {
    return Words::load(IntegerQuery::words(row) + d);
  }
  static EIGEN_ALWAYS_INLINE Key key(StoredRow<Int8> row, Index, Index d) { return Words::int8(row.data + d); }
  static EIGEN_ALWAYS_INLINE Sum zero() { return Words::zero(); }
  static EIGEN_ALWAYS_INLINE Sum add(const Query& query, const Key& key, StoredRow<Int8>, Index, const Sum& sum) {
    return Words::add_products(query, key, sum);
  }
  static EIGEN_ALWAYS_INLINE Packet<float> finish(const Sum& sum, StoredRow<Int8> row, Index) {
    return ei::pmul(Words::floats(sum), broadcast(*row.side));
  }
};

/// Stored q + 8 are multiplied as they are; what is too much is taken off at the beginning: sums of 8 times the query.
/// For every step of features, whose lower halves of bytes are loaded together, and the upper ones, a query has the
/// words that meet them.
template <>
struct IntegerProduct<Int4> {
  using Scalar = float;
  using Storage = Int4;
  struct Query {
    Words::Packet16 low, high;
    Words::Sums less;
  };
  using Key = Nibbles<Words::Packet16>;
  using Sum = Packet<float>;
  static constexpr int step = 2 * Words::count;
  static constexpr bool scales_queries = true;

  static Index query_bytes(Index features) {
    return IntegerQuery::bytes(features) + features / 4 * static_cast<Index>(sizeof(std::int32_t));
  }
  static bool pack(const float* query, Index features, std::byte* row) {
    if (!IntegerQuery::pack(query, features, row)) return false;
    auto* const words = IntegerQuery::words(row);
    auto* const less = reinterpret_cast<std::int32_t*>(row + IntegerQuery::bytes(features));
    constexpr Index half = Int4::group / 2;
    for (Index d = 0; d < features; d += step) {
      std::int16_t apart[step];
      for (Index k = 0; k < step; ++k) {
        apart[k % Int4::group / half * Words::count + k / Int4::group * half + k % half] = words[d + k];
      }
      std::copy_n(apart, step, words + d);
      for (Index k = 0; k < Words::count / 2; ++k) {
        const std::int16_t *const low = apart + 2 * k, *const high = low + Words::count;
        less[d / 4 + k] = -8 * (low[0] + low[1] + high[0] + high[1]);
      }
    }
    return true;
  }
  static float query_scale(const std::byte* row) { return IntegerQuery::scale(row); }
  static EIGEN_ALWAYS_INLINE Query query(const std::byte* row, Index features, Index d) {
    const std::int16_t* const words = IntegerQuery::words(row) + d;
    const auto* const less = reinterpret_cast<const std::int32_t*>(row + IntegerQuery::bytes(features));
    return {Words::load(words), Words::load(words + Words::count), Words::load_sums(less + d / 4)};
  }
  static EIGEN_ALWAYS_INLINE Key key(StoredRow<Int4> row, Index, Index d) { return Words::nibbles(row.data + d / 2); }
  static EIGEN_ALWAYS_INLINE Sum zero() { return broadcast(0.0f); }
  static EIGEN_ALWAYS_INLINE Sum add(const Query& query, const Key& key, StoredRow<Int4> row, Index d, const Sum& sum) {
    const Words::Sums sums =
        Words::add_products(query.high, key.high, Words::add_products(query.low, key.low, query.less));
    return ei::pmadd(Words::floats(sums), Words::each_for_16(row.side + d / Int4::group), sum);
  }
  static EIGEN_ALWAYS_INLINE Packet<float> finish(const Sum& sum, StoredRow<Int4>, Index) { return sum; }
};

#endif  // DCA_MULTIPLIES_INTEGERS

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
