// Passkey trials: what is asked, and what cannot be.
#include "passkey.hpp"

#include "error_of.hpp"
#include "open_model_parts.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_test::contains;

namespace {

using Trials = std::vector<dca_lm::PasskeyTrial>;

const Choice small_chunks{.name = "dca", .chunk_size = 24, .local_window = 8};

Trials trials_of(const OpenModel& model, std::ptrdiff_t tokens, std::ptrdiff_t count, std::uint32_t seed) {
  const OpenModel::Parts& parts = model.parts();
  return dca_lm::passkey_trials(parts.model, parts.tokenizer, parts.attention(small_chunks), parts.device,
                                {tokens, count, seed}, [](double) {});
}

}  // namespace

TEST_CASE("passkey trials ask for five digits at even depths, again the same for a seed") {
  Random random(22);
  const TempFile file(make_tiny_model({}, random).bytes());
  const OpenModel model(file.path());
  const Trials three = trials_of(model, 600, 3, 5), again = trials_of(model, 600, 3, 5);
  const Trials others = trials_of(model, 600, 3, 6), one = trials_of(model, 600, 1, 5);
  REQUIRE(three.size() == 3);
  for (std::size_t k = 0; k < 3; ++k) {
    CHECK(three[k].depth == dca_test::Approx(0.1 + 0.4 * static_cast<double>(k)));
    CHECK(three[k].expected.size() == 5);
    CHECK(three[k].expected == again[k].expected);
    CHECK(three[k].answer == again[k].answer);
    CHECK(three[k].expected != others[k].expected);
  }
  CHECK(one[0].depth == 0.5);
}

TEST_CASE("a prompt that does not fit is refused with the tokens that it takes") {
  Random random(24);
  const TempFile file(make_tiny_model({}, random).bytes());
  const OpenModel model(file.path());
  CHECK_THAT(error_of([&] { trials_of(model, 100, 1, 1); }), contains("--tokens 100; the prompt alone takes"));
}
