// The compiled operator: everything. Needs no Eigen; link dca::kernels.
#pragma once

#include "dca/compiled/attention.hpp"
#include "dca/compiled/caches.hpp"
#include "dca/compiled/config.hpp"
#include "dca/compiled/own_parts.hpp"
#include "dca/compiled/tensor.hpp"
#include "dca/compiled/threads.hpp"
