// What a golden case may lose to the storage of its keys and values.
#pragma once

#include "golden_runner/cached_paths.hpp"

namespace dca_test {

/// Bounds from the formats' definitions. With u the unit roundoff (half 2^-11, bfloat16 2^-9), a rounded key changes a
/// logit by at most u M, where M bounds |softmax_scale| |q| |k|. A quantised element is off by at most 1/254 (int8) or
/// 1/14 (int4) of the largest of its scale, which after rotation is at most sqrt(2) times the largest of the keys: a
/// logit changes by at most |softmax_scale| |q| sqrt(head_dim) times that.
StorageError storage_error(KeyValueType type, const GoldenCase& golden);

}  // namespace dca_test
