// dca_isa_<name> FOLDER: one call per golden case and scalar, with the kernels of this executable's instruction set.
#include <exception>
#include <iostream>

#include "golden_runner/report.hpp"

int main(int argc, char** argv) {
  using namespace dca_test;
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " FOLDER\n";
    return 2;
  }
  const dca::KernelInfo info = dca::kernel_info();
  std::cout << info.instruction_set << ", " << info.float_packet_size << " floats a packet\n";
  try {
    GoldenReport report(std::cout);
    for (const GoldenParameters& parameters : read_golden_table(argv[1])) {
      const GoldenCase golden = read_golden_case(argv[1], parameters);
      report.check(golden, "operator", operator_path(GoldenProblem<float>(golden)));
      report.check(golden, "operator", operator_path(GoldenProblem<double>(golden)));
    }
    return report.finish() ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
