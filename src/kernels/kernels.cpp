// Chooses the kernels for the processor at work.
#include <dca/instruction_set/kernel_table.hpp>

#include <cstdlib>
#include <string>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

// One for each instruction set that the library was built for.
#define DCA_INSTRUCTION_SET(name) \
  extern "C" __attribute__((visibility("hidden"))) const dca::detail::Kernels dca_kernels_##name;
#include "instruction_sets.inc"
#undef DCA_INSTRUCTION_SET

namespace dca::detail {
namespace {

#if defined(__x86_64__)
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

bool processor_has(std::string_view name) {
  __builtin_cpu_init();  // which also asks whether the system keeps the registers
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (name == "avx2") return avx2;
  if (name == "avx512vnni") return processor_has("avx512") && __builtin_cpu_supports("avx512vnni");
  if (name == "avx512") {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  }
  return true;
}
#else
bool processor_has(std::string_view) { return true; }
#endif

struct InstructionSet {
  const char* name;
  const Kernels* kernels;
};

// From the highest to the one that any processor has.
constexpr InstructionSet instruction_sets[] = {
#define DCA_INSTRUCTION_SET(name) {#name, &dca_kernels_##name},
#include "instruction_sets.inc"
#undef DCA_INSTRUCTION_SET
};

const Kernels& choose() {
  if (const char* const asked = std::getenv("DCA_INSTRUCTION_SET"); asked != nullptr && *asked != '\0') {
    std::string possible;
    for (const auto& [name, kernels] : instruction_sets) {
      if (!processor_has(name)) continue;
      if (std::string_view(asked) == name) return *kernels;
      possible += (possible.empty() ? "" : ", ") + std::string(name);
    }
    fail("DCA_INSTRUCTION_SET", asked,
         Text("must be one that the processor and the library have: ") + possible.c_str());
  }
  for (const auto& [name, kernels] : instruction_sets) {
    if (processor_has(name)) return *kernels;
  }
  fail("dca::kernels", "no instruction set of this processor", "build it with sse2 in DCA_INSTRUCTION_SETS");
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace dca::detail
