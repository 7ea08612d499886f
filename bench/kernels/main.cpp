// dca_bench: the speed of this library by itself. `--benchmark_filter=REGEX` chooses, `--benchmark_format=json` prints
// for programs; plot.py draws the benchmarks chunk_sizes and selection.
#include <cstdio>
#include <iostream>

#include "problem.hpp"

namespace dca::bench {

void add_prefill();
void add_decode();
void add_selection();
void add_serving();
void add_baselines();
void add_register_tile();

namespace {

std::string billions(double per_second) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", per_second * 1e-9);
  return text;
}

void add_machine_context() {
  const KernelInfo info = kernel_info();
  benchmark::AddCustomContext("instruction_set", info.instruction_set);
  benchmark::AddCustomContext("register_tile_float", std::to_string(info.float_register_tile.rows) + " x " +
                                                         std::to_string(info.float_register_tile.columns));
  benchmark::AddCustomContext("peak_method", fma_peak_method);
  benchmark::AddCustomContext("peak_float_GFLOP/s", billions(known_fma_peak<float>(1)));
  benchmark::AddCustomContext("peak_double_GFLOP/s", billions(known_fma_peak<double>(1)));
  benchmark::AddCustomContext("peak_float_GFLOP/s_all_threads", billions(known_fma_peak<float>(all_threads())));
  benchmark::AddCustomContext("read_GB/s", billions(known_read_bandwidth(1)));
}

}  // namespace
}  // namespace dca::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  dca::bench::add_machine_context();
  dca::bench::add_register_tile();
  dca::bench::add_prefill();
  dca::bench::add_decode();
  dca::bench::add_serving();
  dca::bench::add_selection();
  dca::bench::add_baselines();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  std::cout.flush();
  if (std::cout && std::fflush(stdout) == 0) return 0;
  std::cerr << "dca_bench: standard output cannot be written\n";
  return 1;
}
