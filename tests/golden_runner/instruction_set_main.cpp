// dca_isa_<name> FOLDER: golden cases by one dense call and through caches of all storage types, with the kernels of
// this executable's instruction set, and by the compiled operator where it is linked. Says a digest of all bits that
// the templates gave.
#include <cstdint>
#include <cstring>
#include <exception>
#include <iostream>

#include "golden_runner/report.hpp"
#include "golden_runner/storages.hpp"

namespace {

using namespace dca_test;

/// FNV-1a over the bits of results.
class Digest {
 public:
  template <class T>
  const std::vector<GoldenOutputs<T>>& add(const std::vector<GoldenOutputs<T>>& results) {
    for (const GoldenOutputs<T>& one : results) {
      for (const T x : one.out) add_number(x);
      for (const T x : one.lse) add_number(x);
    }
    return results;
  }
  std::uint64_t value() const { return value_; }

 private:
  template <class T>
  void add_number(T x) {
    unsigned char bytes[sizeof(T)];
    std::memcpy(bytes, &x, sizeof(T));
    for (const unsigned char byte : bytes) value_ = (value_ ^ byte) * 1099511628211ULL;
  }

  std::uint64_t value_ = 14695981039346656037ULL;
};

template <class T>
void run_paths(const GoldenCase& golden, GoldenReport& report, Digest& digest) {
  const GoldenProblem<T> problem(golden);
  report.check(golden, "operator", digest.add(operator_path(problem)));
  for (const Storage<T>& storage : storages<T>) {
    const GoldenParameters& p = golden.parameters;
    if (!stores(storage.type, p.head_dim) || !stores(storage.type, p.v_head_dim)) continue;
    for (const Path<T>& path : storage.paths) {
      report.check(golden, std::string(path.name) + " " + storage.name, digest.add(path.run(problem)),
                   storage_error(storage.type, golden));
    }
#if defined(DCA_COMPILED_KERNELS)
    report.check(golden, std::string("compiled ") + storage.name,
                 compiled_path(problem, storage.type, storage.paths[0].run(problem).front()),
                 storage_error(storage.type, golden));
#endif
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
    Digest digest;
    for (const GoldenParameters& parameters : read_golden_table(argv[1])) {
      const GoldenCase golden = read_golden_case(argv[1], parameters);
      run_paths<float>(golden, report, digest);
      run_paths<double>(golden, report, digest);
    }
    std::cout << "digest " << std::hex << digest.value() << std::dec << '\n';
    return report.finish() ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
