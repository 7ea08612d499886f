// dca_isa_<name> FOLDER: golden cases by one dense call and through caches of all storage types, with the kernels of
// this executable's instruction set.
#include <exception>
#include <iostream>

#include "golden_runner/report.hpp"
#include "golden_runner/storages.hpp"

namespace {

using namespace dca_test;

template <class T>
void run_paths(const GoldenCase& golden, GoldenReport& report) {
  const GoldenProblem<T> problem(golden);
  report.check(golden, "operator", operator_path(problem));
  for (const Storage<T>& storage : storages<T>) {
    const GoldenParameters& p = golden.parameters;
    if (!stores(storage.type, p.head_dim) || !stores(storage.type, p.v_head_dim)) continue;
    for (const Path<T>& path : storage.paths) {
      report.check(golden, std::string(path.name) + " " + storage.name, path.run(problem),
                   storage_error(storage.type, golden));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::cerr << "usage: " << argv[0] << " FOLDER [INSTRUCTION_SET]\n";
    return 2;
  }
  try {
    const dca::KernelInfo info = dca::kernel_info();
    std::cout << info.instruction_set << ", " << info.float_packet_size << " floats a packet, read directly: float"
              << (info.reads_half ? " half" : "") << (info.reads_bfloat16 ? " bfloat16" : "")
              << (info.reads_int8 ? " int8" : "") << (info.reads_int4 ? " int4" : "") << '\n';
    if (argc == 3 && std::string(argv[2]) != info.instruction_set) {
      std::cerr << "expected kernels for " << argv[2] << '\n';
      return 1;
    }
    GoldenReport report(std::cout);
    for (const GoldenParameters& parameters : read_golden_table(argv[1])) {
      const GoldenCase golden = read_golden_case(argv[1], parameters);
      run_paths<float>(golden, report);
      run_paths<double>(golden, report);
    }
    return report.finish() ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
