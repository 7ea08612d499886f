// The one tile loop: a call, cut into blocks of query rows that the device's threads share.
#pragma once

#include "dca/kernel/query_block.hpp"
#include "dca/kernel/workers.hpp"

namespace dca::detail {

/// Rows that share a packed tile. More rows pack less often: a tile costs about as much as 50 rows' products with it.
/// But a block's queries and sums pass through the cache once per key tile, 12 bytes per 256 FLOPs in float, which the
/// second-level cache delivers with ease and the third-level one just so: they may take one and a half times the second
/// (and 1/2 to 2 MiB). Where there would not be four tasks for each worker rows are fewer, but worth the packing.
template <class T>
Index choose_block_rows(Index rows, Index row_features, Index sequences, Index workers) {
  const Index block_bytes = std::clamp<Index>(Eigen::l2CacheSize() / 2 * 3, Index{1} << 19, Index{1} << 21);
  constexpr Index worthwhile_rows = 128;
  constexpr Index unit = panel_rows<T>;
  Index block_rows =
      std::clamp<Index>(block_bytes / (row_features * static_cast<Index>(sizeof(T))) / unit, 1, 64) * unit;
  if (workers > 1) {
    const Index balanced = ceil_div(rows, ceil_div(4 * workers, sequences));
    block_rows = std::min(block_rows, round_up(std::max(balanced, worthwhile_rows), unit));
  }
  return std::min(block_rows, rows);
}

/// Attention of all rows of a call, as tasks of one (batch, kv_head, block of rows) each on the threads of the device.
///
/// Cost: 2 * (head_dim + v_head_dim) FLOPs per visible (query, key); scratch per worker is constant in the lengths.
/// Throws std::bad_alloc, before anything is written, where that scratch is not to be had.
template <class T, ChunkPart... Parts, class Device, class Layout, class Source, class Q, class O>
void run_tile_loop(const Device& device, const AttentionParams<Layout>& params, const Source& source,
                   const AttentionCall<T, Q, O>& call) {
  using Block = QueryBlock<T, Layout, Source, Q, O, Parts...>;
  const Index kv_heads = source.kv_heads();
  const Index sequences = checked_product("query", call.query.shape[0], kv_heads);
  const Index rows = call.query.shape[1] * (call.query.shape[2] / kv_heads);
  const Index block_rows = choose_block_rows<T>(rows, source.head_dim() + source.v_head_dim(), sequences,
                                                worker_count(device, std::numeric_limits<Index>::max()));
  const Index blocks = ceil_div(rows, block_rows);
  const Index tasks = checked_product("query", blocks, sequences);
  const Index workers = worker_count(device, tasks);
  Arena counter;
  const Block counted(params, source, call, block_rows, counter);
  const Index bytes = counter.used();
  const DeviceMemory<Device> memory(device, workers * bytes + Arena::alignment);
  std::byte* const scratch = Arena::aligned(memory.data());
  // The last rows see the most keys: they go first, so that the cores finish together.
  run_tasks(device, workers, tasks, [&](Index worker, Index task) {
    const Index sequence = task % sequences;
    const Index first = (blocks - 1 - task / sequences) * block_rows;
    Arena arena(scratch + worker * bytes);
    Block block(params, source, call, block_rows, arena);
    block.attend(sequence / kv_heads, sequence % kv_heads, first, std::min(first + block_rows, rows));
  });
}

}  // namespace dca::detail
