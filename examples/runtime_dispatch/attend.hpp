// What each shared object exports: plain C, so that no type whose layout depends on the instruction set crosses over.
#pragma once

#include <cstddef>

extern "C" {

/// Dual Chunk Attention of one head on one thread. query, key, value, out: [length, head_dim], contiguous.
/// Returns 0, or 1 where the arguments are refused.
typedef int dca_attend_function(const float* query, const float* key, const float* value, float* out,
                                std::ptrdiff_t length, std::ptrdiff_t head_dim, std::ptrdiff_t trained_window);

/// What the kernels of a shared object were compiled for.
typedef const char* dca_instruction_set_function();
}
