// Which features a key offset has.
#pragma once

#include "dca/tensor/index.hpp"

namespace dca {

/// Which pairs of features estimate_key_offset gives an offset.
struct KeyOffsetOptions {
  Index most_pairs = 8;     // of a kv_head, those that stand out most; at least 0
  double stands_out = 2.0;  // by so many times the norm that pairs typically have; at least 0
};

}  // namespace dca
