#include "fuzz/target.hpp"

#include <cstdio>
#include <cstdlib>

#include "support/random.hpp"

// Inputs bring their own seeds.
unsigned int dca_test::run_seed() { return 1; }

namespace {

std::string attempt;

}  // namespace

void dca_fuzz::trying(const std::string& what) { attempt = what; }

void dca_fuzz::report(const std::string& what) {
  std::fprintf(stderr, "found: %s\n", what.c_str());
  if (!attempt.empty()) std::fprintf(stderr, "with %s\n", attempt.c_str());
  std::fflush(stderr);
  std::abort();
}
