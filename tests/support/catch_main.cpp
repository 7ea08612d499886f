// The main function of the test executables: Catch2's, with a seed that is printed and can be given again.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Listener = Catch::EventListenerBase;
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
using Listener = Catch::TestEventListenerBase;
#endif

#include <cstdlib>
#include <iostream>
#include <random>

#include "support/random.hpp"

namespace {

unsigned int seed_of_run = 0;

// Told before the first test, so that a run that crashes can be replayed as well. Listings stay clean.
class SeedListener : public Listener {
 public:
  using Listener::Listener;
  void testRunStarting(const Catch::TestRunInfo&) override {
    std::cerr << "random seed " << seed_of_run << " (again: --rng-seed " << seed_of_run << ")" << std::endl;
  }
};

}  // namespace

CATCH_REGISTER_LISTENER(SeedListener)

unsigned int dca_test::run_seed() { return seed_of_run; }

int main(int argc, char** argv) {
  Catch::Session session;
  if (const int error = session.applyCommandLine(argc, argv); error != 0) return error;
  // Version 2 leaves the seed 0 where none is given.
  if (session.configData().rngSeed == 0) session.configData().rngSeed = std::random_device{}() | 1U;
  seed_of_run = session.configData().rngSeed;
  return session.run() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
