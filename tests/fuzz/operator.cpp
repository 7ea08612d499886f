// Compositions, layouts, offsets, storages, policies, sinks and caps, each against the definition.
#include "fuzz/operator_targets.hpp"
#include "fuzz/target.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  dca_fuzz::Bytes bytes(data, size);
  dca_fuzz::trying("");
  switch (bytes.integer(0, 7)) {
    case 0:
      dca_fuzz::fuzz_dual_chunk(bytes);
      break;
    case 1:
      dca_fuzz::fuzz_causal(bytes);
      break;
    case 2:
      dca_fuzz::fuzz_parts(bytes);
      break;
    case 3:
      dca_fuzz::fuzz_own(bytes);
      break;
    case 4:
      dca_fuzz::fuzz_caches(bytes);
      break;
    case 5:
      dca_fuzz::fuzz_ragged(bytes);
      break;
    case 6:
      dca_fuzz::fuzz_selection(bytes);
      break;
    default:
      dca_fuzz::fuzz_settings(bytes);
  }
  return 0;
}
