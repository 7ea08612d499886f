// What the cache target is made of: each takes operations from the bytes, and follows them with a model.
#pragma once

#include "fuzz/bytes.hpp"

namespace dca_fuzz {

/// KeyValueCache: append to one or all, truncate, copy_prefix, views.
void fuzz_contiguous(Bytes& bytes);
/// PagedCache: add, fork, truncate, remove, append, views.
void fuzz_paged(Bytes& bytes);
/// BlockPool: take, share, give_back, append through any tables, copies within and between pools, views.
void fuzz_pool(Bytes& bytes);

}  // namespace dca_fuzz
