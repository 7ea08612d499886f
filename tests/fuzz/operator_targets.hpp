// What the operator target is made of: each takes a case from the bytes and checks it.
#pragma once

#include "fuzz/bytes.hpp"

namespace dca_fuzz {

void fuzz_dual_chunk(Bytes& bytes);
void fuzz_causal(Bytes& bytes);
/// The parts of Dual Chunk Attention alone.
void fuzz_parts(Bytes& bytes);
/// A composition of parts that are not the library's.
void fuzz_own(Bytes& bytes);
/// Contiguous and paged caches of all storages.
void fuzz_caches(Bytes& bytes);
/// Sequences of different lengths in one call.
void fuzz_ragged(Bytes& bytes);
/// Policies that choose keys.
void fuzz_selection(Bytes& bytes);
/// Numbers with which nothing can be made.
void fuzz_settings(Bytes& bytes);

}  // namespace dca_fuzz
