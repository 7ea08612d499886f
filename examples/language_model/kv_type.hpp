// How a session keeps its keys and values.
#pragma once

#include <string>

namespace dca_lm {

enum class KvType { float32, half, bfloat16, int8, int4 };

/// The type that the command line calls `name`: float, half, bfloat16, int8 or int4. Throws Error for another name.
KvType kv_type_of(const std::string& name);

}  // namespace dca_lm
