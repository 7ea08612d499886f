// One program for every x86-64 processor: loads the kernels that were compiled for this one. Includes no dca header, so
// that it holds no kernel itself.
#include <dlfcn.h>

#include <cmath>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "attend.hpp"

/// The best of the shared objects that this processor runs.
std::string best_kernels() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    return "avx512";
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
  return "sse2";
}

class Kernels {
 public:
  explicit Kernels(const std::string& path) : library_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) throw std::runtime_error(dlerror());
    attend = reinterpret_cast<dca_attend_function*>(dlsym(library_, "dca_attend"));
    instruction_set = reinterpret_cast<dca_instruction_set_function*>(dlsym(library_, "dca_instruction_set"));
    if (attend == nullptr || instruction_set == nullptr) throw std::runtime_error(path + " lacks a function");
  }

  dca_attend_function* attend;
  dca_instruction_set_function* instruction_set;

 private:
  void* library_;  // stays loaded to the end of the program
};

/// runtime_dispatch FOLDER [sse2|avx2|avx512]: FOLDER is that of the shared objects.
int main(int argc, char** argv) try {
  const std::string folder = argc > 1 ? argv[1] : ".";
  const Kernels kernels(folder + "/libdca_attend_" + (argc > 2 ? argv[2] : best_kernels()) + ".so");

  constexpr std::ptrdiff_t length = 500, head_dim = 64;
  std::vector<float> query(length * head_dim), key(query), value(length * head_dim, 1.0f), out(query);
  for (std::size_t k = 0; k < query.size(); ++k) {
    query[k] = std::sin(static_cast<float>(k));
    key[k] = std::cos(static_cast<float>(3 * k));
  }
  if (kernels.attend(query.data(), key.data(), value.data(), out.data(), length, head_dim, 128) != 0) return 1;
  std::cout << "the mean of ones is " << out.back() << " with " << kernels.instruction_set() << '\n';
  return std::abs(out.back() - 1) < 1e-5f ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
