// One call on tensors: refused with nothing written, or right.
#pragma once

#include <functional>

#include "fuzz/operator_arguments.hpp"
#include "fuzz/operator_check.hpp"

namespace dca_fuzz {

/// Runs an operator on arguments.
template <class T, class E, class O>
using Call = std::function<void(const Arguments<T, E, O>&)>;

/// Outputs of a call in memory of their own.
template <class T, class O>
struct Results {
  Strided<O> out;
  Strided<T> lse;

  Results(Bytes& bytes, const Sizes& s)
      : out(bytes, {s.batch, s.q_len, s.heads, s.v_head_dim}), lse(bytes, {s.batch, s.q_len, s.heads}) {}

  void require_untouched(const std::string& why) const {
    require(out.untouched() && lse.untouched(), "written although refused: " + why);
  }
  void require_gaps_untouched() const {
    require(out.gaps_untouched() && lse.gaps_untouched(), "written between the elements");
  }
};

/// The tensors of one call: inputs with the numbers of a case, results to be written.
template <class T, class E, class O>
struct DenseProblem {
  Case c;
  Numbers numbers;
  Strided<E> query, key, value;
  Results<T, O> results;
  std::vector<T> sinks;
  Arguments<T, E, O> arguments{};

  DenseProblem(Bytes& bytes, const Case& given)
      : c(given),
        numbers(numbers_of<E>(bytes, c, c.sizes)),
        query(bytes, numbers.query.shape),
        key(bytes, numbers.key.shape),
        value(bytes, numbers.value.shape),
        results(bytes, c.sizes),
        sinks(c.sinks.begin(), c.sinks.end()) {
    query.write(numbers.query);
    key.write(numbers.key);
    value.write(numbers.value);
    arguments = {std::as_const(query).view(),
                 std::as_const(key).view(),
                 std::as_const(value).view(),
                 results.out.view(),
                 {.q_offset = c.q_offset, .lse = results.lse.view(), .sink_logits = sinks},
                 c.sizes.kv_heads,
                 c.sizes.kv_len - c.sizes.q_len,
                 c.sizes.batch};
  }
  DenseProblem(const DenseProblem&) = delete;  // the arguments are views
  DenseProblem& operator=(const DenseProblem&) = delete;

  void require_inputs_untouched() const {
    require(query.untouched() && key.untouched() && value.untouched(), "an input has changed");
  }
  void require_untouched(const std::string& why) const {
    require_inputs_untouched();
    results.require_untouched(why);
  }
};

/// Spoils the arguments, where the bytes say so and find a way. Returns whether: the call is refused then, and
/// require_untouched(what) says that nothing was written.
template <class T, class E, class O>
bool spoiled(Bytes& bytes, Arguments<T, E, O> arguments, const Call<T, E, O>& call,
             const std::function<void(const std::string& what)>& require_untouched) {
  if (!bytes.one_in(4)) return false;
  const std::string what = Spoiler<T, E, O>(bytes, arguments).spoil();
  if (what.empty()) return false;
  require(refuses([&] { call(arguments); }), "not refused: " + what);
  require_untouched(what);
  return true;
}

/// A problem on tensors of E with results of O. `threaded` is `call` on threads, or empty.
template <class T, class E, class O>
void check_dense(Bytes& bytes, Case c, const Call<T, E, O>& call, const Call<T, E, O>& threaded,
                 const reference::PositionMatrix& positions, double largest_position) {
  Sizes& s = c.sizes;
  s.batch = bytes.pick<Index>({1, 1, 1, 2, 3, 0});
  s.kv_len = length_of_tokens(bytes, 0, 2000);
  s.q_len = query_count(bytes, s);
  const Index last = s.kv_len - s.q_len;
  if (bytes.one_in(2)) c.q_offset = bytes.one_in(2) ? last : bytes.integer(0, last);
  trying(c.text());
  DenseProblem<T, E, O> problem(bytes, c);
  Results<T, O>& results = problem.results;
  Arguments<T, E, O>& arguments = problem.arguments;
  static dca::Workspace workspace;
  if (bytes.one_in(2)) arguments.options.workspace = &workspace;
  if (spoiled<T, E, O>(bytes, arguments, call, [&](const std::string& what) { problem.require_untouched(what); }))
    return;
  call(arguments);
  results.require_gaps_untouched();
  problem.require_inputs_untouched();
  const auto out = results.out.read(), lse = results.lse.read();
  const auto expected =
      answer(c, problem.numbers, c.first_position(s.q_len, s.kv_len), [&](Index, Index) { return positions; });
  check_result<T, O>(out, lse, expected, magnitudes_of(c, problem.numbers, largest_position), c.value_gain);
  if (!threaded || !bytes.one_in(3)) return;
  results.out.clear();
  results.lse.clear();
  threaded(arguments);
  problem.require_inputs_untouched();
  // But for the sign of NaN, which compilers choose.
  const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  const auto again = results.out.read(), lse_again = results.lse.read();
  require(std::equal(out.begin(), out.end(), again.begin(), same) &&
              std::equal(lse.begin(), lse.end(), lse_again.begin(), same),
          "threads change the result");
}

}  // namespace dca_fuzz
