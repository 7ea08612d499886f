// Tests that cannot check anything where they run.
#pragma once

#include <string>

namespace dca_test {

/// Says that the running test case checks nothing here, and why; the caller returns after it. An executable that did
/// nothing but skip exits with 4, as Catch2 3's own SKIP makes it.
void skip(const std::string& reason);

}  // namespace dca_test
