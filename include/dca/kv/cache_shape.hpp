// Sizes of caches, and tables of their blocks.
#pragma once

#include <span>

#include "dca/tensor/index.hpp"

namespace dca {

/// Sizes of what a cache holds for a token. With a summary_block it also keeps a summary of every summary_block keys,
/// for policies that rank blocks.
struct CacheShape {
  Index kv_heads = 0;  // required, as are the next two: at least 1
  Index head_dim = 0;
  Index v_head_dim = 0;
  Index summary_block = 0;  // keys of a block; 0: no summaries
};

/// Tokens that a KeyValueCache has room for, per sequence; one that grows takes more when they are used up.
struct CacheCapacity {
  Index tokens = 0;  // required: at least 1
  bool grows = false;
};

/// The blocks of a sequence: tokens [b * block_size, (b + 1) * block_size) are in block blocks[b], for b from 0. Owns
/// nothing.
struct BlockTable {
  std::span<const Index> blocks{};
  Index length = 0;  // tokens
};

}  // namespace dca
