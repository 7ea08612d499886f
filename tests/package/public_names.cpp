// Every public name, so that none disappears unnoticed. Nothing here runs, and no operator is compiled: names are
// looked up, and expressions checked for what they give.
#include <concepts>
#include <dca/compiled.hpp>
#include <dca/dca.hpp>

namespace public_names {

// Types and functions.
using dca::AbsolutePosition, dca::AllChunks, dca::AttentionConfig, dca::BlockPool, dca::BlockSet, dca::BlockTable;
using dca::blh, dca::blhd, dca::bhl, dca::bhld, dca::contiguous, dca::kernel_info, dca::merge, dca::rotate;
using dca::CacheCapacity, dca::CacheShape, dca::CallOptions, dca::CausalAttention, dca::ChosenBlocks, dca::ChunkConfig;
using dca::CacheOf, dca::chunk_sizes_to_try, dca::Executor, dca::executor_of, dca::local_windows_to_try;
using dca::ChunkLayout, dca::ChunkOffset, dca::ComposedAttention, dca::DenseKeyValues, dca::DualChunkAttention;
using dca::DualChunkAttentionConfig, dca::DynamicNtkScaling, dca::Extents, dca::FirstAndRecent, dca::Index, dca::Int4;
using dca::dynamic_ntk_frequencies, dca::linear_frequencies, dca::llama3_frequencies, dca::ntk_frequencies;
using dca::estimate_key_offset, dca::KeyOffsetOptions;
using dca::Int8, dca::InterChunk, dca::InterChunkAttention, dca::IntraChunk, dca::IntraChunkAttention, dca::KernelInfo;
using dca::KeyRange, dca::KeyValueCache, dca::Llama3Scaling, dca::PagedCache, dca::PagedKeyValues, dca::PartialState;
using dca::PagedCacheOf, dca::PartFunctions;
using dca::PlacedKeys, dca::QueryBlock, dca::RaggedKeyValues, dca::RankedBlock, dca::RopeFrequencies, dca::RopePairing;
using dca::plain_frequencies, dca::rotate_back, dca::yarn_frequencies;
using dca::RotaryAngles, dca::RotaryEmbedding, dca::RowPlace, dca::RowRun, dca::RowStorage, dca::StorageSide,
    dca::StorageUnit, dca::StoredRow, dca::SuccessiveChunk;
using dca::SuccessiveChunkAttention, dca::TensorView, dca::TileShape, dca::TopBlocks, dca::Unchunked, dca::Unplaced;
using dca::WholeSequence, dca::Workspace, dca::YarnScaling;
static_assert(dca::has_placed_keys<PagedKeyValues<BlockPool<float>>>);

template <class T>
concept Integer = std::same_as<T, Index>;
template <class T>
concept Number = std::same_as<T, double>;

// Structs that are filled with designated initialisers: their members, in this order.
[[maybe_unused]] void fill(Workspace& workspace, std::vector<ChosenBlocks>& chosen, float* memory,
                           const Index* blocks) {
  const RotaryEmbedding rope(RopeFrequencies{.inv_freq = {}, .attention_factor = 1.0}, RopePairing::interleaved);
  static_cast<void>(RopePairing::half);
  static_cast<void>(AttentionConfig<ChunkLayout>{.chunks = ChunkConfig{.chunk_size = 2, .local_window = 1},
                                                 .rope = rope,
                                                 .softmax_scale = 1.0,
                                                 .logit_softcap = 1.0});
  static_cast<void>(CallOptions<float>{.q_offset = 0,
                                       .lse = {.data = memory, .shape = {}, .strides = {}},
                                       .sink_logits = {},
                                       .cu_seqlens = {},
                                       .workspace = &workspace,
                                       .skipped = {},
                                       .chosen = &chosen});
  static_cast<void>(DualChunkAttentionConfig{.chunk_size = 1, .local_size = 0, .original_max_position_embeddings = 2});
  static_cast<void>(CacheShape{.kv_heads = 1, .head_dim = 1, .v_head_dim = 1, .summary_block = 0});
  static_cast<void>(CacheCapacity{.tokens = 1, .grows = false});
  static_cast<void>(KeyOffsetOptions{.most_pairs = 1, .stands_out = 1.0});
  static_cast<void>(BlockTable{.blocks = {blocks, 1}, .length = 0});
  static_cast<void>(
      RowRun<float>{.data = memory, .stride = 1, .count = 1, .side = nullptr, .side_stride = 0, .side_token = 0}.row(
          0));
  static_cast<void>(StoredRow<float>{.data = memory, .side = nullptr});
  static_cast<void>(RowPlace<float>{.data = memory, .side = nullptr, .token = 0});
  static_cast<void>(PartialState<float>{.out = {}, .lse = {}});
  static_cast<void>(PlacedKeys<ChunkOffset>{.chunks = ChunkConfig{2, 1}, .rope = rope});
  static_cast<void>(DynamicNtkScaling{.factor = 1, .trained_window = 1, .length = 1});
  static_cast<void>(
      YarnScaling{.factor = 1, .trained_window = 1, .beta_fast = 1, .beta_slow = 1, .attention_factor = 1.0});
  static_cast<void>(Llama3Scaling{.factor = 1, .low_freq_factor = 1, .high_freq_factor = 4, .trained_window = 1});
  static_cast<void>(FirstAndRecent{.first = 1, .recent = 1, .block = 1});
  static_cast<void>(TopBlocks{.keys = 1, .block = 1, .query_block = 1, .trust_in_bound = 1.0});
  static_cast<void>(QueryBlock{.sequence = 0, .kv_head = 0, .queries = {.first = 0, .last = 1}, .keys = {0, 1}});
  static_cast<void>(RankedBlock<float>{.importance = 0, .block = 0});
  static_cast<void>(ChosenBlocks{.query = {}, .blocks = {}});
  static_cast<void>(TileShape{.rows = 1, .columns = 1});
  static_cast<void>(KernelInfo{.instruction_set = "",
                               .float_packet_size = 1,
                               .double_packet_size = 1,
                               .float_register_tile = {},
                               .double_register_tile = {}});
}

// What parts, sources and policies must give, and which of the library's do.
static_assert(dca::ChunkPart<IntraChunk> && dca::ChunkPart<SuccessiveChunk> && dca::ChunkPart<WholeSequence>);
static_assert(dca::SelectablePart<InterChunk> && dca::KeyPlacing<ChunkOffset> && dca::KeyPlacing<AbsolutePosition>);
static_assert(dca::KeyValueSource<DenseKeyValues<float, float>>);
static_assert(dca::KeyValueSource<RaggedKeyValues<const float, const float>>);
static_assert(dca::SummarisedSource<PagedKeyValues<BlockPool<float>>>);
static_assert(dca::SummarisedSource<PagedKeyValues<BlockPool<float>>, double>);
static_assert(dca::PlaceSelection<FirstAndRecent> && dca::RankSelection<TopBlocks, float>);
static_assert(dca::BlockSelection<AllChunks, float> && dca::BlockSelection<TopBlocks, double>);

template <class Placement>
concept RunNames = requires(const typename Placement::Layout& layout) {
  { Placement::run(layout, 0) } -> Integer;
};
static_assert(RunNames<ChunkOffset> && RunNames<AbsolutePosition>);

template <class Layout>
concept LayoutNames = requires(const Layout& chunks, DualChunkAttentionConfig config) {
  { chunks.chunk_size() } -> Integer;
  { chunks.local_window() } -> Integer;
  { chunks.chunk_len() } -> Integer;
  { Layout::from_trained_window(2) } -> std::same_as<Layout>;
  { Layout::from_model_config(config) } -> std::same_as<Layout>;
  { chunks == chunks } -> std::same_as<bool>;
};
static_assert(LayoutNames<ChunkLayout>);

template <class E>
concept ExtentsNames = requires(E shape) {
  { E::max_rank } -> std::convertible_to<int>;
  { shape.rank() } -> std::same_as<int>;
  { shape[0] } -> std::same_as<Index&>;
  { shape == shape } -> std::same_as<bool>;
};
static_assert(ExtentsNames<Extents>);

template <class Rope>
concept RopeNames = requires(const Rope& rope, std::span<const Index> positions, TensorView<float> x) {
  { rope.rotary_dim() } -> Integer;
  { rope.attention_factor() } -> Number;
  { rope.inv_freq() } -> std::same_as<const std::vector<double>&>;
  { rope.pairing() } -> std::same_as<RopePairing>;
  { RotaryAngles::workspace(rope) } -> Integer;
  rotate(rope, positions, x);
  rotate_back(rope, positions, x);
  { plain_frequencies(2, 1e4) } -> std::same_as<RopeFrequencies>;
  { linear_frequencies(2, 1e4, 2.0) } -> std::same_as<RopeFrequencies>;
  { ntk_frequencies(4, 1e4, 2.0) } -> std::same_as<RopeFrequencies>;
  { dynamic_ntk_frequencies(4, 1e4, DynamicNtkScaling{}) } -> std::same_as<RopeFrequencies>;
  { yarn_frequencies(4, 1e4, YarnScaling{}) } -> std::same_as<RopeFrequencies>;
  { llama3_frequencies(4, 1e4, Llama3Scaling{}) } -> std::same_as<RopeFrequencies>;
  { estimate_key_offset(rope, x) } -> std::same_as<std::vector<float>>;
  { estimate_key_offset(rope, x, KeyOffsetOptions{}) } -> std::same_as<std::vector<float>>;
};
static_assert(RopeNames<RotaryEmbedding>);

using Device = Eigen::DefaultDevice;
using Floats = TensorView<float>;

template <class Attention>
concept AttentionNames = requires(const Attention& attention, const Device& device,
                                  const Eigen::ThreadPoolDevice& threads, Floats x, const CallOptions<float>& options,
                                  const TopBlocks& selection, CacheShape shape,
                                  const RaggedKeyValues<float, float>& ragged) {
  typename Attention::Layout;
  typename Attention::KeyPlacement;
  attention.config().chunks;
  attention(device, x, x, x, x);
  attention(threads, x, x, x, x, options, selection);
  attention(device, x, ragged, x, options, selection);
  attention(device, x, attention.template make_cache<Int8>(shape, 1, CacheCapacity{1}), x, options);
  attention.template make_cache<float, Eigen::half>(shape, 1, CacheCapacity{1});
  attention.template make_paged_cache<Int4, Eigen::bfloat16>(shape, 1, 1);
  { attention.placed_keys() } -> std::same_as<PlacedKeys<typename Attention::KeyPlacement>>;
};
static_assert(AttentionNames<DualChunkAttention<float>> && AttentionNames<CausalAttention<float>>);
static_assert(AttentionNames<IntraChunkAttention<float>> && AttentionNames<InterChunkAttention<float>>);
static_assert(AttentionNames<ComposedAttention<float, SuccessiveChunk>>);

template <class State>
concept MergeNames = requires(const Device& device, std::span<const PartialState<const float>> states, State result) {
  merge(device, states, result);
  merge(device, states, result, std::span<const float>{});
};
static_assert(MergeNames<PartialState<float>>);

template <class Cache>
concept CacheNames = requires(Cache cache, const Cache& read, const Device& device, Floats x,
                              std::span<const Index> order) {
  typename Cache::Pool;
  cache.set_key_offset(x);
  cache.append(device, 0, x, x);
  cache.append(device, x, x);
  cache.truncate(0, 0);
  cache.copy_prefix(0, 1, 0);
  { read.view() } -> dca::KeyValueSource;
  { read.view(order) } -> dca::KeyValueSource;
  { read.sequences() } -> Integer;
  { read.length(0) } -> Integer;
  { read.capacity() } -> Integer;
  { read.bytes() } -> Integer;
};
static_assert(CacheNames<KeyValueCache<float>> && CacheNames<KeyValueCache<Int8, AbsolutePosition, Eigen::half>>);

template <class Cache>
concept PagedNames = requires(Cache cache, const Cache& read, const Device& device, Floats x,
                              std::span<const Index> order) {
  typename Cache::Pool;
  cache.set_key_offset(x);
  { cache.add() } -> Integer;
  { cache.fork(0) } -> Integer;
  cache.truncate(0, 0);
  cache.remove(0);
  cache.append(device, 0, x, x);
  { read.view(order) } -> dca::KeyValueSource;
  { read.length(0) } -> Integer;
  { read.pool() } -> std::same_as<const typename Cache::Pool&>;
};
static_assert(PagedNames<PagedCache<float>> && PagedNames<PagedCache<float, Unplaced, double>>);

template <class Pool>
concept PoolNames = requires(Pool pool, const Pool& read, const Device& device, Floats x, const BlockTable& table,
                             std::span<const BlockTable> tables, float* place) {
  typename Pool::Key;
  typename Pool::Value;
  typename Pool::KeyPlacement;
  { pool.take() } -> Integer;
  pool.share(0);
  pool.give_back(0);
  pool.set_key_offset(x);
  pool.append(device, tables, x, x);
  pool.copy_tokens(0, 1, 1);
  pool.copy_tokens_from(read, 0, 1, 1);
  { read.users(0) } -> Integer;
  read.check_readable(table);
  { read.keys(table, 0, 0) } -> std::same_as<RowRun<typename Pool::Key>>;
  { read.values(table, 0, 0) } -> std::same_as<RowRun<typename Pool::Value>>;
  read.read_summary(table, 0, 0, place);
  { read.blocks() } -> Integer;
  { read.free_blocks() } -> Integer;
  { read.block_size() } -> Integer;
  { read.shape() } -> std::same_as<const CacheShape&>;
  { read.placement() } -> std::same_as<const PlacedKeys<typename Pool::KeyPlacement>&>;
  { read.bytes() } -> Integer;
};
static_assert(PoolNames<BlockPool<float>>);

template <class Set>
concept BlockSetNames = requires(Set set, const Set& read, KeyRange keys) {
  { Set::words(1, 1) } -> Integer;
  { Set::word_bits } -> std::convertible_to<Index>;
  set.add(0);
  set.add_keys(keys);
  { read.block_size() } -> Integer;
  { read.first_block() } -> Integer;
  { read.last_block() } -> Integer;
  { read.contains(0) } -> std::same_as<bool>;
  { read.first_run(keys) } -> std::same_as<KeyRange>;
  { keys.empty() } -> std::same_as<bool>;
};
static_assert(BlockSetNames<BlockSet>);

template <class W>
concept WorkspaceNames = requires(W workspace) {
  { workspace.reserve(1) } -> std::same_as<std::byte*>;
  { workspace.bytes() } -> Integer;
};
static_assert(WorkspaceNames<Workspace>);

template <class Tensor>
concept ViewNames = requires(Tensor& tensor, float* memory) {
  { blhd(tensor) } -> std::same_as<Floats>;
  { bhld(tensor) } -> std::same_as<Floats>;
  { blh(tensor) } -> std::same_as<Floats>;
  { bhl(tensor) } -> std::same_as<Floats>;
  { contiguous(memory, Extents{1}) } -> std::same_as<Floats>;
};
static_assert(ViewNames<Eigen::Tensor<float, 3, Eigen::RowMajor>>);

template <class Storage>
concept StorageNames = requires(const float* x, std::byte* row, float* decoded) {
  { RowStorage<Storage>::units(32) } -> Integer;
  typename RowStorage<Storage>::Unit;
  { RowStorage<Storage>::multiple + 0 } -> Integer;
  RowStorage<Storage>::encode(x, 32, RowPlace<Storage>{row});
  RowStorage<Storage>::decode(StoredRow<Storage>{row}, 32, decoded);
};
static_assert(StorageNames<Int8> && StorageNames<Int4> && Int4::group == 32);
static_assert(std::same_as<StorageUnit<Int8>, std::byte> && std::same_as<StorageUnit<float>, float>);
static_assert(std::same_as<StorageSide<float>, std::byte>);
static_assert(sizeof(RowStorage<float>::load<float>({}, 0, 0)) == sizeof(dca::Packet<float>));

// The compiled operator: the fields of its structs, in this order; its functions are in exported_symbols.txt.
namespace compiled = dca::compiled;

[[maybe_unused]] void fill_compiled(compiled::Workspace& workspace, compiled::Choices& chosen,
                                    const compiled::ConstTensor& read, const compiled::Tensor& written) {
  using enum compiled::DType;
  for ([[maybe_unused]] const auto dtype : {float32, float64, float16, bfloat16, int8, int4}) {
  }
  const compiled::OwnParts own{.parts = {}, .layout = nullptr, .share_key_positions = false, .selectable = -1};
  static_cast<void>(
      PartFunctions{.query_position = nullptr, .key_position = nullptr, .keys = nullptr, .key_run = nullptr});
  static_cast<void>(&compiled::own_parts<InterChunk, IntraChunk>);
  static_cast<void>(compiled::AttentionConfig{.composition = compiled::Composition::dual_chunk,
                                              .scalar = float32,
                                              .chunks = {.chunk_size = 2, .local_window = 1},
                                              .rope = {.rotary_dim = 0,
                                                       .theta = 1,
                                                       .pairing = compiled::RopePairing::interleaved,
                                                       .scaling = compiled::RopeScaling::dynamic_ntk,
                                                       .factor = 1,
                                                       .trained_window = 1,
                                                       .length = 1,
                                                       .beta_fast = 1,
                                                       .beta_slow = 1,
                                                       .low_freq_factor = 1,
                                                       .high_freq_factor = 4,
                                                       .attention_factor = 1.0,
                                                       .inv_freq = {}},
                                              .softmax_scale = 1.0,
                                              .logit_softcap = 1.0,
                                              .own_parts = &own});
  static_cast<void>(compiled::CallOptions{.q_offset = 0,
                                          .lse = written,
                                          .sink_logits = read,
                                          .cu_seqlens = {},
                                          .key_cu_seqlens = {},
                                          .sequences = {},
                                          .workspace = &workspace,
                                          .selection = {.policy = compiled::Policy::top_blocks,
                                                        .keys = 1,
                                                        .first = 1,
                                                        .recent = 1,
                                                        .block = 1,
                                                        .query_block = 1,
                                                        .trust_in_bound = 1},
                                          .skipped = written,
                                          .chosen = &chosen});
  static_cast<void>(compiled::StorageTypes{.key = int8, .value = int4});
  static_cast<void>(compiled::ConstPartialState{.out = read, .lse = read});
  static_cast<void>(compiled::PartialState{.out = written, .lse = written});
  static_cast<void>(compiled::Choices::Choice{.sequence = 0, .kv_head = 0, .queries = {}, .keys = {}, .blocks = {}});
  static_cast<void>(compiled::KernelsInUse{.instruction_set = "", .float_packet_size = 1, .double_packet_size = 1});
  static_cast<void>(Executor{.pool = nullptr, .threads = 1, .schedule = nullptr});
  static_cast<void>(compiled::unseen);
}
static_assert(std::same_as<compiled::DTypeOf<Eigen::half>::value_type, compiled::DType>);
static_assert(std::convertible_to<TensorView<float>, compiled::Tensor>);
static_assert(std::convertible_to<TensorView<const double>, compiled::ConstTensor>);
static_assert(!std::convertible_to<TensorView<const float>, compiled::Tensor>);

}  // namespace public_names
