// Transposition between rows of features and lanes of rows.
#pragma once

#include <algorithm>

#include "dca/packet/packet.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// y[c * y_stride + r] = x[r * x_stride + c] for `rows` rows and `columns` columns; x and y do not overlap.
template <class T>
DCA_FLATTEN void transpose(const T* __restrict x, Index x_stride, Index rows, Index columns, T* __restrict y,
                           Index y_stride) {
  constexpr int size = packet_size<T>;
  const Index block_rows = rows - rows % size, block_columns = columns - columns % size;
  for (Index r = 0; r < block_rows; r += size) {
    for (Index c = 0; c < block_columns; c += size) {
      ei::PacketBlock<Packet<T>, size> block;
      unroll<size>([&](int k) DCA_INLINE { block.packet[k] = ei::ploadu<Packet<T>>(x + (r + k) * x_stride + c); });
      if constexpr (size > 1) ei::ptranspose(block);
      unroll<size>([&](int k) DCA_INLINE { ei::pstoreu(y + (c + k) * y_stride + r, block.packet[k]); });
    }
  }
  for (Index r = 0; r < rows; ++r) {
    for (Index c = r < block_rows ? block_columns : 0; c < columns; ++c) y[c * y_stride + r] = x[r * x_stride + c];
  }
}

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
