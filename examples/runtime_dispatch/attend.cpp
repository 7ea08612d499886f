// Compiled once per instruction set, each into a shared object that hides everything but two functions.
#include "attend.hpp"

#include <dca/dca.hpp>

#define DCA_EXPORT extern "C" __attribute__((visibility("default")))

DCA_EXPORT int dca_attend(const float* query, const float* key, const float* value, float* out, std::ptrdiff_t length,
                          std::ptrdiff_t head_dim, std::ptrdiff_t trained_window) {
  try {
    const dca::DualChunkAttention<float> attention({
        .chunks = dca::ChunkLayout::from_trained_window(trained_window),
        .rope = dca::RotaryEmbedding(dca::plain_frequencies(head_dim, 10000.0)),
    });
    const dca::Extents shape{length, 1, head_dim};
    attention(Eigen::DefaultDevice{}, dca::contiguous(query, shape), dca::contiguous(key, shape),
              dca::contiguous(value, shape), dca::contiguous(out, shape));
    return 0;
  } catch (const std::exception&) {  // no exception crosses a C interface
    return 1;
  }
}

DCA_EXPORT const char* dca_instruction_set() { return dca::kernel_info().instruction_set; }
