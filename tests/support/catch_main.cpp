// The main function of the test executables: Catch2's, with a seed that is printed and can be given again, and an exit
// status of its own where every test was skipped.
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
#include "support/skip.hpp"

namespace {

constexpr int exit_all_skipped = 4;

unsigned int seed_of_run = 0;
bool is_skipped = false;  // the test case that runs
bool all_skipped = false;
bool none_ran = false;

class RunListener : public Listener {
 public:
  using Listener::Listener;

  // The seed is told before the first test, so that a run that crashes can be replayed as well. Listings stay clean.
  void testRunStarting(const Catch::TestRunInfo&) override {
    none_ran = true;
    std::cerr << "random seed " << seed_of_run << " (again: --rng-seed " << seed_of_run << ")" << std::endl;
  }

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    Listener::testCaseStarting(info);
    is_skipped = false;
  }
  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    Listener::testCaseEnded(stats);
    (is_skipped ? skipped_ : checked_) += 1;
    none_ran = false;
    all_skipped = checked_ == 0 && skipped_ > 0;
  }

 private:
  int checked_ = 0, skipped_ = 0;
};

}  // namespace

CATCH_REGISTER_LISTENER(RunListener)

unsigned int dca_test::run_seed() { return seed_of_run; }

void dca_test::skip(const std::string& reason) {
  std::cout << "SKIPPED: " << reason << std::endl;
  is_skipped = true;
}

int main(int argc, char** argv) {
  Catch::Session session;
  if (const int error = session.applyCommandLine(argc, argv); error != 0) return error;
  // Version 2 leaves the seed 0 where none is given.
  if (session.configData().rngSeed == 0) session.configData().rngSeed = std::random_device{}() | 1U;
  seed_of_run = session.configData().rngSeed;
  if (session.run() != 0) return EXIT_FAILURE;
  // Version 2 takes that for success: as where ctest asks for a name in pieces, which it makes at a semicolon.
  if (none_ran) {
    std::cerr << "no test has that name" << std::endl;
    return EXIT_FAILURE;
  }
  return all_skipped ? exit_all_skipped : EXIT_SUCCESS;
}
