// One program for every x86-64 processor. It is compiled without -march, without Eigen, and linked with dca::kernels,
// which takes the kernels for the processor that it runs on: DCA_INSTRUCTION_SET=sse2, avx2, avx512 or avx512vnni in the
// environment asks for others.
#include <cmath>
#include <dca/compiled.hpp>
#include <iostream>
#include <vector>

namespace compiled = dca::compiled;

int main() try {
  const compiled::Attention attention({.chunks = {.chunk_size = 96, .local_window = 16}, .rope = {.rotary_dim = 64}});
  std::vector<float> rows(500 * 64), ones(500 * 64, 1.0f), out(500 * 64);
  for (std::size_t k = 0; k < rows.size(); ++k) rows[k] = std::sin(static_cast<float>(k));
  const auto tensor = [](auto& x) { return compiled::contiguous(x.data(), {500, 1, 64}); };
  const compiled::Threads threads(2);
  attention(threads.executor(), tensor(rows), tensor(rows), tensor(ones), tensor(out));
  std::cout << "the mean of ones is " << out.back() << " with " << compiled::kernels_in_use().instruction_set << '\n';
  return std::abs(out.back() - 1) < 1e-5f ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
