// A user's program that costs little to compile: all headers, no operator.
#include <cstdio>
#include <dca/dca.hpp>

int main() {
  const dca::ChunkLayout chunks = dca::ChunkLayout::from_trained_window(8192);
  std::printf("chunks of %td tokens, kernels for %s\n", chunks.chunk_len(), dca::kernel_info().instruction_set);
  return chunks.chunk_len() == 5120 ? 0 : 1;
}
