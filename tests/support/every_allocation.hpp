// Operations that must leave everything as it was where memory runs out, at whichever allocation.
#pragma once

#include <memory>

#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/failing_malloc.hpp"

namespace dca_test {

/// What a state shows, bit by bit.
class Observation {
 public:
  template <class T>
  Observation& operator<<(const std::vector<T>& values) {
    *this << static_cast<Index>(values.size());
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    return *this;
  }
  template <class T>
  Observation& operator<<(const Outputs<T>& outputs) {
    return *this << outputs.out << outputs.lse;
  }
  Observation& operator<<(Index value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  bool operator==(const Observation&) const = default;

 private:
  std::string bytes_;
};

/// Runs state.operate() on fresh states of make(), with 0, 1, 2, ... allocations granted, until it succeeds.
/// It must need at least `least`, or the test tests nothing.
template <class Make>
void every_allocation_may_fail(const char* operation, const Make& make, long least) {
  if (!allocations_are_counted()) return;
  INFO(operation);
  Observation expected;
  {
    const auto state = make();
    state->operate();
    state->observe(expected);
  }
  bool refused = true;
  for (long granted = 0; refused; ++granted) {
    REQUIRE(granted < 1000);
    CAPTURE(granted);
    refused = false;
    bool unchanged = true, as_expected = false;
    const long live = live_allocations();
    {
      const auto state = make();
      Observation before, after, again;
      state->observe(before);
      try {
        const GrantedAllocations limit(granted);
        state->operate();
      } catch (const std::bad_alloc&) {
        refused = true;
      }
      if (refused) {
        state->observe(after);
        unchanged = after == before;
        state->operate();
      }
      state->observe(again);
      as_expected = again == expected;
    }
    const long leaked = live_allocations() - live;
    CHECK(unchanged);
    CHECK(as_expected);
    CHECK(leaked == 0);
    if (!refused) CHECK(granted >= least);
  }
}

template <class State, class... Arguments>
auto maker(const Arguments&... arguments) {
  return [arguments...] { return std::make_unique<State>(arguments...); };
}

namespace memory {

inline constexpr dca::ChunkConfig chunks{12, 4};
inline constexpr Index summary_block = 4, token_count = 45;

struct Threads {
  Eigen::ThreadPool pool{2};
  Eigen::ThreadPoolDevice device{&pool, 2};
};

/// A problem of 45 tokens, its queries the last `q_len` of them: few are streamed, many are packed.
struct Problem {
  explicit Problem(Index q_len = 1, Index batch = 1, Index features = 8)
      : random(7), in({batch, q_len, token_count, 4, 2, features, features}, random), outputs(in) {}

  Operands<float> tokens(Index first, Index count) const {
    const Operands<float> whole = in.operands();
    return {whole.query, whole.key.slice(1, first, count), whole.value.slice(1, first, count)};
  }

  Random random;
  Inputs<float> in;
  Outputs<float> outputs;
  dca::DualChunkAttention<float> attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 8);
  std::unique_ptr<Threads> threads = std::make_unique<Threads>();
};

}  // namespace memory
}  // namespace dca_test
