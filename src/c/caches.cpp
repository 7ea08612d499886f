// Caches and pools.
#include "arguments.hpp"

namespace dca::c {
namespace {

struct CacheConfig {
  compiled::StorageTypes types;
  CacheShape shape;
};

CacheConfig config_of(const dca_cache_config* config) {
  const dca_cache_config given = read_struct("config", config, DCA_CACHE_CONFIG_INIT);
  CacheConfig made{.types = {.key = dtype_of("key_dtype", given.key_dtype)},
                   .shape = {.kv_heads = given.kv_heads,
                             .head_dim = given.head_dim,
                             .v_head_dim = given.v_head_dim,
                             .summary_block = given.summary_block}};
  if (given.value_dtype != DCA_DTYPE_NONE) made.types.value = dtype_of("value_dtype", given.value_dtype);
  return made;
}

/// Something to read keys and values from, with the parts of the operator that it is for.
template <class Object, class Make>
std::unique_ptr<Object> make_for(const dca_attention* attention, const dca_cache_config* config, const Make& make) {
  const AttentionObject& object = object_of("attention", attention);
  const CacheConfig made = config_of(config);
  return std::unique_ptr<Object>(new Object{object.own_parts, make(object.attention, made)});
}

}  // namespace
}  // namespace dca::c

using namespace dca::c;

dca_status dca_estimate_key_offset(const dca_attention* attention, const dca_const_tensor* key,
                                   const dca_key_offset_options* options, float* key_offset, int64_t size) {
  return guarded([&] {
    const auto& of = object_of("attention", attention).attention;
    const dca_key_offset_options given = options == nullptr
                                             ? dca_key_offset_options DCA_KEY_OFFSET_OPTIONS_INIT
                                             : read_struct("options", options, DCA_KEY_OFFSET_OPTIONS_INIT);
    const std::size_t numbers = span_of("key_offset", key_offset, size).size();
    of.estimate_key_offset(tensor_of("key", key), {key_offset, numbers},
                           {.most_pairs = given.most_pairs, .stands_out = given.stands_out});
  });
}

dca_status dca_cache_create(const dca_attention* attention, const dca_cache_config* config, int64_t sequences,
                            int64_t capacity, int32_t grows, dca_cache** cache) {
  return create("cache", cache, [&] {
    return make_for<CacheObject>(attention, config, [&](const auto& of, const CacheConfig& made) {
      return of.make_cache(made.types, made.shape, sequences, {capacity, flag_of("grows", grows)});
    });
  });
}

dca_status dca_cache_destroy(dca_cache* cache) { return destroy("cache", cache); }

dca_status dca_cache_set_key_offset(dca_cache* cache, const dca_const_tensor* key_offset) {
  return guarded([&] { object_of("cache", cache).cache.set_key_offset(tensor_of("key_offset", key_offset)); });
}

dca_status dca_cache_append(dca_cache* cache, const dca_threads* threads, int64_t sequence, const dca_const_tensor* key,
                            const dca_const_tensor* value) {
  return guarded([&] {
    object_of("cache", cache)
        .cache.append(executor_of(threads), sequence, tensor_of("key", key), tensor_of("value", value));
  });
}

dca_status dca_cache_append_all(dca_cache* cache, const dca_threads* threads, const dca_const_tensor* key,
                                const dca_const_tensor* value) {
  return guarded([&] {
    object_of("cache", cache).cache.append(executor_of(threads), tensor_of("key", key), tensor_of("value", value));
  });
}

dca_status dca_cache_truncate(dca_cache* cache, int64_t sequence, int64_t length) {
  return guarded([&] { object_of("cache", cache).cache.truncate(sequence, length); });
}

dca_status dca_cache_copy_prefix(dca_cache* cache, int64_t from, int64_t to, int64_t length) {
  return guarded([&] { object_of("cache", cache).cache.copy_prefix(from, to, length); });
}

dca_status dca_cache_sequences(const dca_cache* cache, int64_t* sequences) {
  return write_result("sequences", sequences, [&] { return object_of("cache", cache).cache.sequences(); });
}

dca_status dca_cache_length(const dca_cache* cache, int64_t sequence, int64_t* length) {
  return write_result("length", length, [&] { return object_of("cache", cache).cache.length(sequence); });
}

dca_status dca_cache_capacity(const dca_cache* cache, int64_t* capacity) {
  return write_result("capacity", capacity, [&] { return object_of("cache", cache).cache.capacity(); });
}

dca_status dca_cache_bytes(const dca_cache* cache, int64_t* bytes) {
  return write_result("bytes", bytes, [&] { return object_of("cache", cache).cache.bytes(); });
}

dca_status dca_paged_cache_create(const dca_attention* attention, const dca_cache_config* config, int64_t blocks,
                                  int64_t block_size, dca_paged_cache** cache) {
  return create("cache", cache, [&] {
    return make_for<PagedCacheObject>(attention, config, [&](const auto& of, const CacheConfig& made) {
      return of.make_paged_cache(made.types, made.shape, blocks, block_size);
    });
  });
}

dca_status dca_paged_cache_destroy(dca_paged_cache* cache) { return destroy("cache", cache); }

dca_status dca_paged_cache_set_key_offset(dca_paged_cache* cache, const dca_const_tensor* key_offset) {
  return guarded([&] { object_of("cache", cache).cache.set_key_offset(tensor_of("key_offset", key_offset)); });
}

dca_status dca_paged_cache_add(dca_paged_cache* cache, int64_t* sequence) {
  return write_result("sequence", sequence, [&] { return object_of("cache", cache).cache.add(); });
}

dca_status dca_paged_cache_fork(dca_paged_cache* cache, int64_t sequence, int64_t* forked) {
  return write_result("forked", forked, [&] { return object_of("cache", cache).cache.fork(sequence); });
}

dca_status dca_paged_cache_truncate(dca_paged_cache* cache, int64_t sequence, int64_t length) {
  return guarded([&] { object_of("cache", cache).cache.truncate(sequence, length); });
}

dca_status dca_paged_cache_remove(dca_paged_cache* cache, int64_t sequence) {
  return guarded([&] { object_of("cache", cache).cache.remove(sequence); });
}

dca_status dca_paged_cache_append(dca_paged_cache* cache, const dca_threads* threads, int64_t sequence,
                                  const dca_const_tensor* key, const dca_const_tensor* value) {
  return guarded([&] {
    object_of("cache", cache)
        .cache.append(executor_of(threads), sequence, tensor_of("key", key), tensor_of("value", value));
  });
}

dca_status dca_paged_cache_length(const dca_paged_cache* cache, int64_t sequence, int64_t* length) {
  return write_result("length", length, [&] { return object_of("cache", cache).cache.length(sequence); });
}

dca_status dca_paged_cache_blocks(const dca_paged_cache* cache, int64_t* blocks) {
  return write_result("blocks", blocks, [&] { return object_of("cache", cache).cache.blocks(); });
}

dca_status dca_paged_cache_free_blocks(const dca_paged_cache* cache, int64_t* blocks) {
  return write_result("blocks", blocks, [&] { return object_of("cache", cache).cache.free_blocks(); });
}

dca_status dca_paged_cache_block_size(const dca_paged_cache* cache, int64_t* tokens) {
  return write_result("tokens", tokens, [&] { return object_of("cache", cache).cache.block_size(); });
}

dca_status dca_paged_cache_bytes(const dca_paged_cache* cache, int64_t* bytes) {
  return write_result("bytes", bytes, [&] { return object_of("cache", cache).cache.bytes(); });
}

dca_status dca_pool_create(const dca_attention* attention, const dca_cache_config* config, int64_t blocks,
                           int64_t block_size, dca_pool** pool) {
  return create("pool", pool, [&] {
    return make_for<PoolObject>(attention, config, [&](const auto& of, const CacheConfig& made) {
      return of.make_pool(made.types, made.shape, blocks, block_size);
    });
  });
}

dca_status dca_pool_destroy(dca_pool* pool) { return destroy("pool", pool); }

dca_status dca_pool_set_key_offset(dca_pool* pool, const dca_const_tensor* key_offset) {
  return guarded([&] { object_of("pool", pool).pool.set_key_offset(tensor_of("key_offset", key_offset)); });
}

dca_status dca_pool_take(dca_pool* pool, int64_t* block) {
  return write_result("block", block, [&] { return object_of("pool", pool).pool.take(); });
}

dca_status dca_pool_share(dca_pool* pool, int64_t block) {
  return guarded([&] { object_of("pool", pool).pool.share(block); });
}

dca_status dca_pool_give_back(dca_pool* pool, int64_t block) {
  return guarded([&] { object_of("pool", pool).pool.give_back(block); });
}

dca_status dca_pool_users(const dca_pool* pool, int64_t block, int64_t* users) {
  return write_result("users", users, [&] { return object_of("pool", pool).pool.users(block); });
}

dca_status dca_pool_append(dca_pool* pool, const dca_threads* threads, const dca_block_table* tables,
                           int64_t table_count, const dca_const_tensor* key, const dca_const_tensor* value) {
  return guarded([&] {
    PoolObject& object = object_of("pool", pool);
    object.pool.append(executor_of(threads), tables_of(tables, table_count, object.tables), tensor_of("key", key),
                       tensor_of("value", value));
  });
}

dca_status dca_pool_copy_tokens(dca_pool* pool, int64_t from, int64_t to, int64_t tokens) {
  return guarded([&] { object_of("pool", pool).pool.copy_tokens(from, to, tokens); });
}

dca_status dca_pool_copy_tokens_from(dca_pool* pool, const dca_pool* other, int64_t from, int64_t to, int64_t tokens) {
  return guarded(
      [&] { object_of("pool", pool).pool.copy_tokens_from(object_of("other", other).pool, from, to, tokens); });
}

dca_status dca_pool_blocks(const dca_pool* pool, int64_t* blocks) {
  return write_result("blocks", blocks, [&] { return object_of("pool", pool).pool.blocks(); });
}

dca_status dca_pool_free_blocks(const dca_pool* pool, int64_t* blocks) {
  return write_result("blocks", blocks, [&] { return object_of("pool", pool).pool.free_blocks(); });
}

dca_status dca_pool_block_size(const dca_pool* pool, int64_t* tokens) {
  return write_result("tokens", tokens, [&] { return object_of("pool", pool).pool.block_size(); });
}

dca_status dca_pool_bytes(const dca_pool* pool, int64_t* bytes) {
  return write_result("bytes", bytes, [&] { return object_of("pool", pool).pool.bytes(); });
}
