// Caches, pools and paged caches, against models of them: lists of tokens.
#include "fuzz/cache_targets.hpp"
#include "fuzz/target.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  dca_fuzz::Bytes bytes(data, size);
  switch (bytes.integer(0, 2)) {
    case 0:
      dca_fuzz::fuzz_contiguous(bytes);
      break;
    case 1:
      dca_fuzz::fuzz_paged(bytes);
      break;
    default:
      dca_fuzz::fuzz_pool(bytes);
  }
  return 0;
}
