// The search for chunk_size and local_window: what is tried, in which order, and until when.
#include "tuning.hpp"

#include <algorithm>
#include <cmath>

#include "error_of.hpp"
#include "open_model_parts.hpp"
#include "perplexity.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_test::contains;

namespace {

using Results = std::vector<dca_lm::TuningResult>;

/// A search where a pair of sizes takes `seconds`, and is the better the nearer it is to the best.
Results search(std::ptrdiff_t window, double budget, double seconds, const dca::ChunkConfig& best) {
  return dca_lm::tune(window, budget, [&](const dca::ChunkConfig& sizes) -> dca_lm::TuningResult {
    const auto far = std::abs(sizes.chunk_size - best.chunk_size) + std::abs(sizes.local_window - best.local_window);
    return {sizes, {1.0 + static_cast<double>(far), 2.0}, seconds};
  });
}

}  // namespace

TEST_CASE("with time enough the search finds the best chunk_size, then its best local_window") {
  for (const std::ptrdiff_t chunk_size : {256, 384, 512, 640, 768, 896, 960}) {
    for (const std::ptrdiff_t local_window : {0, 16, 32, 64, 128}) {
      const dca::ChunkConfig wanted{.chunk_size = chunk_size, .local_window = local_window};
      const Results results = search(1024, 1000, 1, wanted);
      const dca_lm::TuningResult& best = dca_lm::best_of(results);
      CHECK(best.sizes.chunk_size == chunk_size);
      CHECK(best.sizes.local_window == local_window);
      CHECK(best.perplexity() == dca_test::Approx(std::exp(1.5)));
    }
  }
}

TEST_CASE("the search begins with the authors' sizes and ends within its budget") {
  for (const double budget : {0.0, 1.0, 25.0, 60.0, 100.0, 1e6}) {
    const Results results = search(8192, budget, 10, {.chunk_size = 4096, .local_window = 512});
    CHECK(results.front().sizes.chunk_size == 6144);
    CHECK(results.front().sizes.local_window == 1024);
    CHECK((results.size() == 1 || 10.0 * static_cast<double>(results.size()) <= budget));
    // Two thirds for chunk_sizes; what is left for local_windows.
    const auto others = std::count_if(results.begin(), results.end(),
                                      [](const auto& result) { return result.sizes.local_window != 1024; });
    if (budget == 60.0) CHECK((results.size() == 6 && others == 2));
    for (std::size_t a = 0; a < results.size(); ++a) {
      for (std::size_t b = 0; b < a; ++b) {
        CHECK_FALSE((results[a].sizes.chunk_size == results[b].sizes.chunk_size &&
                     results[a].sizes.local_window == results[b].sizes.local_window));
      }
    }
  }
}

TEST_CASE("all sizes that are tried are legal, for any trained window") {
  for (std::ptrdiff_t window = 2; window < 100; ++window) {
    std::vector<dca::ChunkConfig> sizes = dca::chunk_sizes_to_try(window);
    for (const dca::ChunkConfig& more : dca::local_windows_to_try(window, sizes.back().chunk_size)) {
      sizes.push_back(more);
    }
    for (const dca::ChunkConfig& one : sizes) {
      CHECK_NOTHROW(dca::ChunkLayout(one));
      CHECK(one.chunk_size < window);
    }
  }
}

TEST_CASE("differences of perplexities are taken token by token") {
  const dca_lm::TuningResult one{{}, {1.0, 5.0, 3.0}, 1}, other{{}, {0.5, 4.5, 2.5}, 1}, uneven{{}, {0, 5, 4}, 1};
  CHECK(dca_lm::difference(one, other).ratio == dca_test::Approx(std::exp(0.5) - 1));
  CHECK(dca_lm::difference(one, other).error == dca_test::Approx(0).margin(1e-12));
  CHECK(dca_lm::difference(one, uneven).ratio == dca_test::Approx(0).margin(1e-12));
  CHECK(dca_lm::difference(one, uneven).error == dca_test::Approx(std::sqrt(1.0 / 3)));
}

TEST_CASE("perplexities beyond what a number holds are finite, and still compared") {
  const std::vector<dca_lm::TuningResult> results = {{{}, {3000, 2000}, 1}, {{}, {1000, 2000}, 1}, {{}, {1, 4000}, 1}};
  CHECK(std::isfinite(results[1].perplexity()));
  CHECK(&dca_lm::best_of(results) == &results[1]);
  const dca_lm::Difference difference = dca_lm::difference(results[0], results[1]);
  CHECK(std::isfinite(100 * difference.ratio));
  CHECK(std::isfinite(100 * difference.error));
}

TEST_CASE("the likelihoods of the last tokens are the last of all likelihoods") {
  Random random(50);
  const TempFile file(make_tiny_model({}, random).bytes());
  const OpenModel model(file.path());
  const std::vector<Token> tokens = {1, 5, 9, 2, 6, 7, 3, 3, 8, 4};
  const std::vector<double> all = model.negative_log_likelihoods({}, tokens);
  const OpenModel::Parts& parts = model.parts();
  const dca_lm::Attention attention = parts.attention({});
  dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = 9});
  const auto last = [&](std::ptrdiff_t count) {
    return dca_lm::last_negative_log_likelihoods(session, tokens, count, [](double) {});
  };
  for (const std::ptrdiff_t count : {1, 4, 9}) {
    const std::vector<double> some = last(count);
    REQUIRE(static_cast<std::ptrdiff_t>(some.size()) == count);
    for (std::size_t k = 0; k < some.size(); ++k) {
      CHECK(some[k] == dca_test::Approx(all[all.size() - some.size() + k]).margin(1e-4));
    }
  }
  CHECK_THAT(error_of([&] { last(10); }), contains("10 tokens to score; must be from 1 to 9"));
}
