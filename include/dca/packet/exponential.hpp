// 2^x and tanh on packets, as accurate as the softmax needs and no more.
#pragma once

#include <iterator>
#include <numbers>

#include "dca/packet/packet.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// 2^r = 1 + r * p(r) on [-1/2, 1/2]: the coefficients of p, lowest first. Minimax fits of the relative error
/// (9e-8 for float, 2e-17 for double) with the constant held at 1, so that 2^0 is exactly 1.
template <class T>
struct Exp2Polynomial;

template <>
struct Exp2Polynomial<float> {
  static constexpr float coefficients[] = {0.6931469775790603f, 0.240222420445655f, 0.05550733749726509f,
                                           0.009671515326137754f, 0.0013264734830962463f};
  static constexpr float lowest = -127.0f;  // from where 2^x is taken as 0
};

template <>
struct Exp2Polynomial<double> {
  static constexpr double coefficients[] = {
      0.69314718055994569675,   0.24022650695910098006,    0.055504108664790394528,   0.0096181291076070026171,
      0.001333355815343996974,  0.00015403530441571850099, 0.00001525272738518977478, 1.3215442675452855182e-6,
      1.0180647660573069343e-7, 7.0725703945407994337e-9,  4.0780717860928704165e-10};
  static constexpr double lowest = -1080.0;
};

/// 2^x as power * (1 + fraction), |fraction| < 0.42. NaN in x is NaN in fraction.
template <class T>
struct Exp2Parts {
  Packet<T> power;
  Packet<T> fraction;
};

template <class T>
using IntegerPacket = typename ei::unpacket_traits<typename ei::packet_traits<T>::type>::integer_packet;

template <class T>
concept HasIntegerPacket = requires {
  typename IntegerPacket<T>;
};

template <class T>
EIGEN_ALWAYS_INLINE Exp2Parts<T> exp2_parts(Packet<T> x) {
  using Polynomial = Exp2Polynomial<T>;
  // Eigen's pmax returns its first argument where either is NaN.
  x = ei::pmax(x, broadcast<T>(Polynomial::lowest));
  Packet<T> power, whole;
  if constexpr (sizeof(T) == sizeof(float) && HasIntegerPacket<T>) {
    // Adding 1.5 * 2^23 leaves round(x) in the low bits of the sum; with the exponent bias on top, a shift makes it the
    // exponent of a float. At the lowest x that exponent is 0, and so is the power.
    const Packet<T> shifter = broadcast<T>(T{12582912 + 127});
    const Packet<T> shifted = ei::padd(x, shifter);
    whole = ei::psub(shifted, shifter);
    power = ei::preinterpret<Packet<T>>(ei::plogical_shift_left<23>(ei::preinterpret<IntegerPacket<T>>(shifted)));
  } else {
    whole = ei::print(x);
    power = ei::pldexp(broadcast<T>(T{1}), whole);
  }
  const Packet<T> r = ei::psub(x, whole);
  constexpr int degree = static_cast<int>(std::size(Polynomial::coefficients));
  Packet<T> sum = broadcast<T>(Polynomial::coefficients[degree - 1]);
  unroll<degree - 1>(
      [&](int k) DCA_INLINE { sum = ei::pmadd(sum, r, broadcast<T>(Polynomial::coefficients[degree - 2 - k])); });
  return {power, ei::pmul(sum, r)};
}

/// 2^x for x <= 0, in float (double): relative error below 2e-7 (4.5e-16) down to -126 (-1022), 0 at the latest from
/// -127 (-1080) on. Exactly 1 at 0, never above 1, 0 at -inf; NaN stays NaN.
template <class T>
EIGEN_ALWAYS_INLINE Packet<T> exp2_nonpositive(const Packet<T>& x) {
  const Exp2Parts<T> parts = exp2_parts<T>(x);
  return ei::pmadd(parts.power, parts.fraction, parts.power);
}

/// tanh(x * ln(2) / 2) = E / (E + 2) with E = 2^x - 1, without cancellation for small or large x. NaN stays NaN.
template <class T>
EIGEN_ALWAYS_INLINE Packet<T> exp2_tanh(const Packet<T>& x) {
  constexpr T saturated = sizeof(T) == sizeof(float) ? T{29} : T{58};  // tanh rounds to 1 well below this
  const Packet<T> inside = ei::pmin(ei::pmax(x, broadcast<T>(-saturated)), broadcast<T>(saturated));
  const Exp2Parts<T> parts = exp2_parts<T>(inside);
  const Packet<T> e = ei::pmadd(parts.power, parts.fraction, ei::psub(parts.power, broadcast<T>(T{1})));
  return ei::pdiv(e, ei::padd(e, broadcast<T>(T{2})));
}

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
