// merge, against the definition in long double: states without keys, infinite and NaN lse, sinks, states in the result.
#include <cmath>
#include <dca/dca.hpp>

#include "fuzz/strided.hpp"
#include "fuzz/target.hpp"
#include "support/random.hpp"

namespace dca_fuzz {
namespace {

using dca_test::Array;
using dca_test::Shape;

constexpr double infinity = std::numeric_limits<double>::infinity();

template <class T>
struct Problem {
  Shape shape;  // of out
  std::vector<Strided<T>> outs, lses;
  std::vector<std::vector<double>> out, lse;
  std::vector<T> sinks;  // [heads] or none
};

double lse_value(Bytes& bytes, double ordinary) {
  return bytes.pick<double>({ordinary, ordinary, ordinary, -infinity, 0.0, 700.0, -700.0, 1e30, -1e30, infinity,
                             std::numeric_limits<double>::quiet_NaN(), -infinity});
}

template <class T>
Problem<T> problem_of(Bytes& bytes) {
  Problem<T> p;
  p.shape = {bytes.integer(0, 3), bytes.integer(0, 5), bytes.integer(1, 4), bytes.pick<Index>({1, 2, 8, 17, 64})};
  const Shape rows{p.shape[0], p.shape[1], p.shape[2]};
  dca_test::Random random(static_cast<std::uint64_t>(bytes.integer(0, 255)));
  const bool special = bytes.one_in(2), all_special = bytes.one_in(4);
  for (Index count = bytes.integer(1, 5); count > 0; --count) {
    p.outs.emplace_back(bytes, p.shape);
    p.lses.emplace_back(bytes, rows);
    Array out(p.shape), lse(rows);
    out.data = random.normal<double>(static_cast<Index>(out.data.size()));
    lse.data = random.normal<double>(static_cast<Index>(lse.data.size()), 3.0);
    for (double& x : lse.data) {
      if (special && (all_special || bytes.one_in(3))) x = lse_value(bytes, x);
    }
    if (!out.data.empty() && bytes.one_in(4)) out.data[0] = bytes.pick<double>({infinity, -infinity, std::nan("")});
    p.outs.back().write(out);
    p.lses.back().write(lse);
    p.out.push_back(p.outs.back().read());
    p.lse.push_back(p.lses.back().read());
  }
  if (bytes.one_in(2)) {
    p.sinks = random.normal<T>(p.shape[2], 3.0);
    if (bytes.one_in(2)) p.sinks[0] = static_cast<T>(lse_value(bytes, 1.0));
  }
  return p;
}

bool close(double a, double b, double relative, double absolute) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b || std::abs(a - b) <= relative * std::abs(b) + absolute;
}

/// Row `row` of the result against the sum of exp(lse) out / (sum of exp(lse) + exp(sink)).
template <class T>
void check_row(const Problem<T>& p, std::size_t row, const std::vector<double>& out, const std::vector<double>& lse) {
  const std::size_t states = p.out.size(), features = static_cast<std::size_t>(p.shape[3]);
  long double high = -infinity;
  bool undefined = false;
  for (std::size_t s = 0; s < states; ++s) {
    const double x = p.lse[s][row];
    undefined = undefined || std::isnan(x) || x == infinity;
    if (!std::isnan(x)) high = std::max<long double>(high, x);
  }
  // Infinite and NaN lse have no definition but IEEE's: whatever is not a number must show.
  if (undefined) {
    for (std::size_t d = 0; d < features; ++d) require(std::isnan(out[row * features + d]), "NaN of an lse is lost");
    require(std::isnan(lse[row]), "lse loses what is not finite");
    return;
  }
  const bool none = high == -infinity;
  long double total = 0;
  for (std::size_t s = 0; s < states && !none; ++s) total += std::exp(p.lse[s][row] - high);
  constexpr double epsilon = static_cast<double>(std::numeric_limits<T>::epsilon());
  const auto wanted_lse = static_cast<double>(static_cast<T>(none ? -infinity : high + std::log(total)));
  require(close(lse[row], wanted_lse, 2 * epsilon, 1e-14),
          "lse is " + std::to_string(lse[row]) + ", not " + std::to_string(wanted_lse));
  const std::size_t head = row % static_cast<std::size_t>(p.shape[2]);
  const long double sink = p.sinks.empty() || none ? -infinity : static_cast<long double>(p.sinks[head]);
  constexpr auto least = 2 * static_cast<long double>(std::numeric_limits<double>::denorm_min());
  const long double denominator = total + (sink == -infinity ? 0 : std::exp(sink - high));
  for (std::size_t d = 0; d < features; ++d) {
    long double sum = 0, size = 0, tiny = 0;  // tiny: what shares below the least normal double lose
    for (std::size_t s = 0; s < states && !none; ++s) {
      const auto share = static_cast<double>(std::exp(p.lse[s][row] - high) / denominator);
      if (share == 0) continue;  // whatever stands in its out
      const long double part = share * static_cast<long double>(p.out[s][row * features + d]);
      sum += part;
      // exp passes on its argument's rounding.
      const long double beyond = sink > high ? sink - high : 0;
      size += std::abs(part) * (8 + 2 * (std::abs(p.lse[s][row] - high) + beyond));
      tiny += std::abs(static_cast<long double>(p.out[s][row * features + d])) * least;
    }
    const auto allowed = static_cast<double>(std::isfinite(size) ? epsilon * size + tiny : 0);
    const double off = out[row * features + d] - static_cast<double>(sum);
    require(close(out[row * features + d], static_cast<double>(sum), 0, std::max(allowed, 1e-40)),
            "out is off by " + std::to_string(off / allowed) + " bounds");
  }
}

template <class T>
dca::PartialState<const T> state_of(const Problem<T>& p, std::size_t s) {
  return {p.outs[s].view(), p.lses[s].view()};
}

/// Something wrong with the states or the result, and whether there was a way to it.
template <class T>
bool spoil(Bytes& bytes, std::vector<dca::PartialState<const T>>& states, dca::PartialState<T>& result,
           std::span<const T>& sinks) {
  auto& some = states[static_cast<std::size_t>(bytes.integer(0, static_cast<Index>(states.size()) - 1))];
  const bool filled = result.out.shape[0] > 0 && result.out.shape[1] > 0 && result.lse.shape[0] > 0;
  const Index wild = bytes.pick<Index>({-1, 1000, std::numeric_limits<Index>::min(), Index{1} << 62});
  static const std::vector<T> many(9, T{0});
  switch (bytes.integer(0, 7)) {
    case 0:
      some.out.shape[static_cast<int>(bytes.integer(0, some.out.shape.rank() - 1))] = wild;
      return true;
    case 1:
      some.lse.shape[static_cast<int>(bytes.integer(0, some.lse.shape.rank() - 1))] = wild;
      return true;
    case 2:
      result.lse.shape[static_cast<int>(bytes.integer(0, result.lse.shape.rank() - 1))] = wild;
      return true;
    case 3:
      sinks =
          std::span<const T>(many).first(static_cast<std::size_t>(result.lse.shape[result.lse.shape.rank() - 1] + 1));
      return true;
    case 4:
      states.clear();
      return true;
    case 5:
      if (!filled) return false;
      result.lse.data = result.out.data;
      return true;
    case 6:
      some.out.strides[some.out.shape.rank() - 1] = 2;
      return some.out.shape[some.out.shape.rank() - 1] > 1;
    default:
      // A state in the result's memory, but not the same.
      if (!filled || result.out.shape[result.out.shape.rank() - 1] < 2) return false;
      some.out = result.out;
      some.out.data += 1;
      return true;
  }
}

template <class T>
void check_merge(Bytes& bytes) {
  Problem<T> p = problem_of<T>(bytes);
  Strided<T> out(bytes, p.shape), lse(bytes, {p.shape[0], p.shape[1], p.shape[2]});
  std::vector<dca::PartialState<const T>> states;
  for (std::size_t s = 0; s < p.outs.size(); ++s) states.push_back(state_of(p, s));
  std::span<const T> sinks = p.sinks;
  dca::PartialState<T> result{out.view(), lse.view()};
  const Eigen::DefaultDevice device;
  const auto call = [&] { dca::merge(device, std::span<const dca::PartialState<const T>>(states), result, sinks); };
  if (bytes.one_in(4)) {
    if (!spoil(bytes, states, result, sinks)) return;
    require(refuses(call), "states that do not fit are not refused");
    require(out.untouched() && lse.untouched(), "written although refused");
    return;
  }
  // The result may be one of the states.
  const bool in_place = bytes.one_in(3);
  const auto which = static_cast<std::size_t>(bytes.integer(0, static_cast<Index>(states.size()) - 1));
  if (in_place) result = {p.outs[which].view(), p.lses[which].view()};
  call();
  const Strided<T>&written_out = in_place ? p.outs[which] : out, &written_lse = in_place ? p.lses[which] : lse;
  require(written_out.gaps_untouched() && written_lse.gaps_untouched(), "written between the elements");
  for (std::size_t s = 0; s < p.outs.size(); ++s) {
    require((in_place && s == which) || (p.outs[s].untouched() && p.lses[s].untouched()), "a state has changed");
  }
  const auto merged = written_out.read(), merged_lse = written_lse.read();
  for (std::size_t row = 0; row < merged_lse.size(); ++row) check_row(p, row, merged, merged_lse);
}

}  // namespace
}  // namespace dca_fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  dca_fuzz::Bytes bytes(data, size);
  if (bytes.one_in(2)) {
    dca_fuzz::check_merge<double>(bytes);
  } else {
    dca_fuzz::check_merge<float>(bytes);
  }
  return 0;
}
