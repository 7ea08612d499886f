/* Dual Chunk Attention for C, and for languages that call C. Link dca::c; needs neither C++ nor Eigen.
 *
 * Status. All functions but dca_version and dca_last_error return a status. Where it is not DCA_OK, dca_last_error says
 * what was wrong, and nothing was changed or written, but for a handle that was to be made, which is NULL then. What a
 * function is given wrong is DCA_INVALID_ARGUMENT: NULL where something is needed, a handle of another kind, one that
 * was destroyed, a number out of range, a value that an enumeration does not have. DCA_OUT_OF_MEMORY is possible
 * wherever something is made, appended or computed. Other errors are named at the functions.
 *
 * Handles. dca_attention, dca_cache and the like are handles, which are compared and passed on, never dereferenced. The
 * functions that make one have a twin that destroys it, and which takes NULL as well. They do not depend on each other:
 * a cache may outlive the dca_attention that made it.
 *
 * Threads. A function changes the handles that it takes without const, and reads the others: one thread at a time may
 * change one, any number may read one that nobody changes or destroys. A dca_attention and a dca_threads serve many
 * calls at once, a dca_workspace and a dca_choices one.
 *
 * Numbers. Sizes, positions, lengths and strides are int64_t. Tokens, blocks, heads and sequences are counted from 0,
 * and ranges are half-open, [first, last). Flags are 0 or 1. Structs that may grow begin with their size and are made
 * with the macro beside them: dca_options options = DCA_OPTIONS_INIT; a program that was compiled with an earlier
 * header of this minor version gets the defaults of what that did not have. */
#ifndef DCA_C_DCA_H
#define DCA_C_DCA_H

#include <stddef.h>
#include <stdint.h>

#define DCA_VERSION_MAJOR 0
#define DCA_VERSION_MINOR 2
#define DCA_VERSION_PATCH 0
#define DCA_VERSION_STRING "0.2.0"

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* ---- Errors and versions ---- */

typedef enum dca_status {
  DCA_OK = 0,
  DCA_INVALID_ARGUMENT = 1,
  DCA_OUT_OF_MEMORY = 2,
  DCA_SYSTEM_ERROR = 3, /* threads that the system does not give */
  DCA_UNKNOWN_ERROR = 4
} dca_status;

/* What was wrong with the last call of this thread that failed, such as "dca: local_window: 8; must be at least 0 and
 * less than chunk_size, 8"; empty before. Valid until the thread's next call that fails. Never NULL. */
const char* dca_last_error(void);

/* The version of the library that is linked, such as "0.2.0"; the header's is DCA_VERSION_STRING. */
const char* dca_version(void);

typedef struct dca_kernels {
  size_t struct_size;
  const char* instruction_set; /* such as "AVX2 + FMA" */
  int32_t float_packet_size;   /* in elements, as the next */
  int32_t double_packet_size;
} dca_kernels;
#define DCA_KERNELS_INIT \
  { sizeof(dca_kernels), NULL, 0, 0 }

/* Writes which kernels calls use: those for the processor at hand, or those that DCA_INSTRUCTION_SET in the environment
 * names. DCA_INVALID_ARGUMENT where it names others than the processor and the library have. */
dca_status dca_kernels_in_use(dca_kernels* kernels);

/* ---- Tensors ---- */

/* Types of elements. int8 and int4 are types of rows in caches alone: 8 bits with a scale for each token and kv_head, 4
 * bits with a scale for 32 features. */
typedef int32_t dca_dtype;
enum {
  DCA_DTYPE_NONE = 0,
  DCA_FLOAT32 = 1,
  DCA_FLOAT64 = 2,
  DCA_FLOAT16 = 3,
  DCA_BFLOAT16 = 4,
  DCA_INT8 = 5,
  DCA_INT4 = 6
};

/* A tensor in memory of the caller's: element (i, j, ...) is data[i * strides[0] + j * strides[1] + ...], in elements.
 * Strides may have any order; the features of a head must be contiguous (last stride 1). Rank 0 stands for "not given"
 * where a tensor is optional. */
typedef struct dca_tensor {
  void* data;
  dca_dtype dtype;
  int32_t rank; /* 0 to 4 */
  int64_t shape[4];
  int64_t strides[4];
} dca_tensor;

/* One that is only read. */
typedef struct dca_const_tensor {
  const void* data;
  dca_dtype dtype;
  int32_t rank;
  int64_t shape[4];
  int64_t strides[4];
} dca_const_tensor;

#define DCA_NO_TENSOR                                     \
  {                                                       \
    NULL, DCA_DTYPE_NONE, 0, {0, 0, 0, 0}, { 0, 0, 0, 0 } \
  }

/* Writes to `tensor` that of densely packed memory, last index fastest. `shape` has `rank` sizes, and may be NULL for
 * rank 0. DCA_INVALID_ARGUMENT where rank is not from 0 to 4, or the number of elements overflows. */
dca_status dca_contiguous(void* data, dca_dtype dtype, int32_t rank, const int64_t* shape, dca_tensor* tensor);

/* As dca_contiguous, of memory that is only read. */
dca_status dca_contiguous_const(const void* data, dca_dtype dtype, int32_t rank, const int64_t* shape,
                                dca_const_tensor* tensor);

/* ---- Threads and memory ---- */

/* Threads that calls may use. NULL in their place: the calling thread alone. Results do not depend on them. */
typedef struct dca_threads dca_threads;

/* Makes a pool of `count` threads that may work at once, the calling one included; 1 makes none. DCA_INVALID_ARGUMENT
 * unless 1 <= count <= 4096, DCA_SYSTEM_ERROR where threads cannot be started. */
dca_status dca_threads_create(int64_t count, dca_threads** threads);

/* Threads that the caller has. */
typedef struct dca_executor {
  size_t struct_size;
  void* pool;      /* passed on to schedule; may be NULL */
  int64_t threads; /* that may work at once, the calling one included; required, from 1 to 4096 */
  /* Has run(argument) called once by some thread, now or later, maybe after the call has ended, but before the library
   * is unloaded; 0 where it cannot, other numbers where it will. A call waits only for what has begun to run, so it may
   * itself be made from a thread of the pool. Called from any thread that makes calls. Must return. */
  int (*schedule)(void* pool, void (*run)(void* argument), void* argument);
} dca_executor;
#define DCA_EXECUTOR_INIT \
  { sizeof(dca_executor), NULL, 0, NULL }

/* Makes threads of those of an executor, which is copied; its pool must outlive calls. DCA_INVALID_ARGUMENT where its
 * threads are out of range or it has no schedule. */
dca_status dca_threads_create_from_executor(const dca_executor* executor, dca_threads** threads);

/* Destroys threads; those of a pool of the library's end first. */
dca_status dca_threads_destroy(dca_threads* threads);

/* Scratch memory kept from call to call: with it, decoding steps after the first allocate none. */
typedef struct dca_workspace dca_workspace;

/* Makes an empty workspace. */
dca_status dca_workspace_create(dca_workspace** workspace);

/* Destroys a workspace. */
dca_status dca_workspace_destroy(dca_workspace* workspace);

/* Writes the bytes that a workspace holds. */
dca_status dca_workspace_bytes(const dca_workspace* workspace, int64_t* bytes);

/* ---- The operator ---- */

/* An operator: Dual Chunk Attention, or another composition of parts, with its rotary embedding and scales. */
typedef struct dca_attention dca_attention;

/* Which features turn together: m and m + rotary_dim / 2, or 2m and 2m + 1. */
enum { DCA_ROPE_PAIRING_HALF = 0, DCA_ROPE_PAIRING_INTERLEAVED = 1 };

/* How rotary frequencies are stretched. */
enum {
  DCA_ROPE_SCALING_NONE = 0,
  DCA_ROPE_SCALING_LINEAR = 1,
  DCA_ROPE_SCALING_NTK = 2,
  DCA_ROPE_SCALING_DYNAMIC_NTK = 3,
  DCA_ROPE_SCALING_YARN = 4,
  DCA_ROPE_SCALING_LLAMA3 = 5
};

/* A rotary embedding of the leading rotary_dim features. A scaling reads those numbers alone that it has. */
typedef struct dca_rope_config {
  size_t struct_size;
  int64_t rotary_dim;     /* even; 0: nothing turns */
  double theta;           /* positive */
  int32_t pairing;        /* DCA_ROPE_PAIRING_... */
  int32_t scaling;        /* DCA_ROPE_SCALING_... */
  double factor;          /* of all scalings */
  int64_t trained_window; /* tokens; of dynamic_ntk, yarn and llama3 */
  int64_t length;         /* tokens to serve now; of dynamic_ntk */
  double beta_fast;       /* of yarn, as the next: turns over the trained window */
  double beta_slow;
  double low_freq_factor; /* of llama3, as the next */
  double high_freq_factor;
  double attention_factor; /* read where the next is 1; default yarn's, or 1; positive and finite */
  int32_t has_attention_factor;
  const double* inv_freq; /* radians a token, instead of all but pairing and attention_factor; copied */
  int64_t inv_freq_size;  /* half of rotary_dim */
} dca_rope_config;
#define DCA_ROPE_CONFIG_INIT                                                                                           \
  {                                                                                                                    \
    sizeof(dca_rope_config), 0, 10000.0, DCA_ROPE_PAIRING_HALF, DCA_ROPE_SCALING_NONE, 1.0, 0, 0, 32.0, 1.0, 1.0, 4.0, \
        0.0, 0, NULL, 0                                                                                                \
  }

/* Keys or queries [first, last). */
typedef struct dca_key_range {
  int64_t first;
  int64_t last;
} dca_key_range;

/* A part of an attention: for the query and the key at absolute positions i and j, the rotary position that the query
 * takes, that of the key, and the keys that the queries [first, first + count) see, each within [0, i]. The ranges of
 * the parts of one composition must not overlap. Called from several threads at once; must return. */
typedef struct dca_part {
  int64_t (*query_position)(const void* layout, int64_t i);
  int64_t (*key_position)(const void* layout, int64_t j);
  void (*keys)(const void* layout, int64_t first, int64_t count, dca_key_range* ranges);
} dca_part;

/* A composition of parts of your own. Caches and pools of an operator with such parts are read by that one alone. */
typedef struct dca_own_parts {
  size_t struct_size;
  const dca_part* parts;       /* copied */
  int64_t part_count;          /* from 1 to 16 */
  const void* layout;          /* passed on to their functions; must outlive the operator and its caches and pools */
  int32_t share_key_positions; /* 1: all parts place keys as the first one, and caches hold them placed */
  int32_t selectable;          /* the part among whose keys a policy may choose, counted from 0; -1: none */
} dca_own_parts;
#define DCA_OWN_PARTS_INIT \
  { sizeof(dca_own_parts), NULL, 0, NULL, 0, -1 }

/* The parts of the library that make an operator: those of Dual Chunk Attention together, plain causal attention, and
 * those of Dual Chunk Attention one by one. */
enum {
  DCA_COMPOSITION_DUAL_CHUNK = 0,
  DCA_COMPOSITION_CAUSAL = 1,
  DCA_COMPOSITION_INTRA_CHUNK = 2,
  DCA_COMPOSITION_SUCCESSIVE_CHUNK = 3,
  DCA_COMPOSITION_INTER_CHUNK = 4
};

/* Fixed when an operator is made. logit = s, or logit_softcap * tanh(s / logit_softcap) where a cap is given, with
 * s = softmax_scale * <R(query_position(i)) q_i, R(key_position(j)) k_j>. */
typedef struct dca_attention_config {
  size_t struct_size;
  int32_t composition; /* DCA_COMPOSITION_... */
  dca_dtype scalar;    /* of the arithmetic: DCA_FLOAT32 or DCA_FLOAT64 */
  int64_t chunk_size; /* largest rotary position, at least 1; required, as the next, for all but causal and own_parts */
  int64_t local_window; /* tokens at exact distances over an edge of chunks; at least 0, less than chunk_size */
  double softmax_scale; /* read where has_softmax_scale is 1; default 1 / sqrt(head_dim); finite */
  double logit_softcap; /* read where has_logit_softcap is 1; default none; positive and finite */
  int32_t has_softmax_scale;
  int32_t has_logit_softcap;
  const dca_rope_config* rope;    /* NULL: nothing turns */
  const dca_own_parts* own_parts; /* instead of composition; NULL: none */
} dca_attention_config;
#define DCA_ATTENTION_CONFIG_INIT \
  { sizeof(dca_attention_config), DCA_COMPOSITION_DUAL_CHUNK, DCA_FLOAT32, 0, -1, 0.0, 0.0, 0, 0, NULL, NULL }

/* Makes an operator; the structs are copied. DCA_INVALID_ARGUMENT where a field is out of range, or an optional number
 * is there without its flag. */
dca_status dca_attention_create(const dca_attention_config* config, dca_attention** attention);

/* Destroys an operator. Its caches and pools stay. */
dca_status dca_attention_destroy(dca_attention* attention);

/* A relative position that no query has. */
#define DCA_UNSEEN INT64_MIN

/* Writes query_position - key_position for queries [first_query, first_query + queries) and keys [first_key, first_key
 * + keys), absolute positions, to out[query * keys + key]; DCA_UNSEEN where the query does not see the key.
 * DCA_INVALID_ARGUMENT for negative numbers, or where the number of cells overflows. */
dca_status dca_position_map(const dca_attention* attention, int64_t first_query, int64_t queries, int64_t first_key,
                            int64_t keys, int64_t* out);

typedef struct dca_chunk_config {
  int64_t chunk_size;
  int64_t local_window;
} dca_chunk_config;

/* Writes sizes to try when a model with this trained window, in tokens, is tuned, the likeliest first: as many as fit
 * into `capacity`, and to `count` how many there are. `sizes` may be NULL where capacity is 0. DCA_INVALID_ARGUMENT
 * where trained_window is below 2. */
dca_status dca_chunk_sizes_to_try(int64_t trained_window, dca_chunk_config* sizes, int64_t capacity, int64_t* count);

/* As dca_chunk_sizes_to_try, other local_windows for a chunk_size. */
dca_status dca_local_windows_to_try(int64_t trained_window, int64_t chunk_size, dca_chunk_config* sizes,
                                    int64_t capacity, int64_t* count);

/* ---- Caches ---- */

/* What a cache or a pool holds of a token. */
typedef struct dca_cache_config {
  size_t struct_size;
  dca_dtype key_dtype;
  dca_dtype value_dtype; /* DCA_DTYPE_NONE: as key_dtype */
  int64_t kv_heads;      /* required, as are the next two: at least 1 */
  int64_t head_dim;
  int64_t v_head_dim;
  int64_t summary_block; /* keys of a block for policies that rank blocks; 0: no summaries */
} dca_cache_config;
#define DCA_CACHE_CONFIG_INIT \
  { sizeof(dca_cache_config), DCA_FLOAT32, DCA_DTYPE_NONE, 0, 0, 0, 0 }

/* Which pairs of features dca_estimate_key_offset gives an offset. */
typedef struct dca_key_offset_options {
  size_t struct_size;
  int64_t most_pairs; /* of a kv_head, those that stand out most; at least 0 */
  double stands_out;  /* by so many times the norm that pairs typically have; at least 0 */
} dca_key_offset_options;
#define DCA_KEY_OFFSET_OPTIONS_INIT \
  { sizeof(dca_key_offset_options), 8, 2.0 }

/* Writes an offset [kv_heads, head_dim] for caches of keys like `key` [length, kv_heads, head_dim]: some hundred keys
 * that are not rotated, or the model's key bias as a single one. It is their mean where a pair of features stands out,
 * and 0 elsewhere. `options` may be NULL: the defaults. DCA_INVALID_ARGUMENT where shapes do not fit, there is no key,
 * an option is out of range, or `size`, the numbers at key_offset, is not kv_heads * head_dim. */
dca_status dca_estimate_key_offset(const dca_attention* attention, const dca_const_tensor* key,
                                   const dca_key_offset_options* options, float* key_offset, int64_t size);

/* Sequences that share sizes and capacity, each in one piece of memory. */
typedef struct dca_cache dca_cache;

/* Makes a cache of `sequences` empty sequences with room for `capacity` tokens each; with `grows` 1, more when they are
 * used up. The operator reads it, as do others that place keys alike; where its parts place keys differently, it holds
 * them unrotated. DCA_INVALID_ARGUMENT where a size is out of range, a head_dim does not suit the storage or rotary_dim
 * exceeds it, or the bytes overflow. */
dca_status dca_cache_create(const dca_attention* attention, const dca_cache_config* config, int64_t sequences,
                            int64_t capacity, int32_t grows, dca_cache** cache);

/* Destroys a cache. */
dca_status dca_cache_destroy(dca_cache* cache);

/* From now on keys are stored less `key_offset` [kv_heads, head_dim], of the model's features, and read with it:
 * storages of few bits keep more of keys that a bias dominates. What it costs grows with the pairs of features that are
 * not 0. DCA_INVALID_ARGUMENT where shapes do not fit, a number is not finite, or there are tokens already. */
dca_status dca_cache_set_key_offset(dca_cache* cache, const dca_const_tensor* key_offset);

/* Appends key [m, kv_heads, head_dim] (unrotated) and value [m, kv_heads, v_head_dim] to a sequence.
 * DCA_INVALID_ARGUMENT where shapes do not fit, or a cache that does not grow is full. */
dca_status dca_cache_append(dca_cache* cache, const dca_threads* threads, int64_t sequence, const dca_const_tensor* key,
                            const dca_const_tensor* value);

/* Appends key [sequences, m, kv_heads, head_dim] and value likewise, m tokens to each sequence; as dca_cache_append. */
dca_status dca_cache_append_all(dca_cache* cache, const dca_threads* threads, const dca_const_tensor* key,
                                const dca_const_tensor* value);

/* Forgets the tokens of a sequence from position `length` on. DCA_INVALID_ARGUMENT unless 0 <= length <= its length. */
dca_status dca_cache_truncate(dca_cache* cache, int64_t sequence, int64_t length);

/* Makes the first `length` tokens of sequence `from` those of sequence `to`, in place of what it held.
 * DCA_INVALID_ARGUMENT unless both exist, are not the same, and `from` has as many. */
dca_status dca_cache_copy_prefix(dca_cache* cache, int64_t from, int64_t to, int64_t length);

/* Writes the number of sequences. */
dca_status dca_cache_sequences(const dca_cache* cache, int64_t* sequences);

/* Writes the tokens of a sequence. */
dca_status dca_cache_length(const dca_cache* cache, int64_t sequence, int64_t* length);

/* Writes the tokens per sequence that fit without growing. */
dca_status dca_cache_capacity(const dca_cache* cache, int64_t* capacity);

/* Writes the bytes held for keys, values and summaries. */
dca_status dca_cache_bytes(const dca_cache* cache, int64_t* bytes);

/* Sequences on the blocks of one pool that share common prefixes. */
typedef struct dca_paged_cache dca_paged_cache;

/* Makes a paged cache without sequences, of `blocks` blocks of `block_size` tokens; as dca_cache_create. */
dca_status dca_paged_cache_create(const dca_attention* attention, const dca_cache_config* config, int64_t blocks,
                                  int64_t block_size, dca_paged_cache** cache);

/* Destroys a paged cache. */
dca_status dca_paged_cache_destroy(dca_paged_cache* cache);

/* As dca_cache_set_key_offset. */
dca_status dca_paged_cache_set_key_offset(dca_paged_cache* cache, const dca_const_tensor* key_offset);

/* Adds a sequence without tokens and writes its number, which may be that of a removed one. */
dca_status dca_paged_cache_add(dca_paged_cache* cache, int64_t* sequence);

/* Adds a sequence with the tokens of another, in the same blocks, and writes its number; a block that one of them
 * writes is copied before. */
dca_status dca_paged_cache_fork(dca_paged_cache* cache, int64_t sequence, int64_t* forked);

/* Forgets the tokens of a sequence from position `length` on, and gives their blocks back. DCA_INVALID_ARGUMENT unless
 * 0 <= length <= its length. */
dca_status dca_paged_cache_truncate(dca_paged_cache* cache, int64_t sequence, int64_t length);

/* Removes a sequence, and gives its blocks back. */
dca_status dca_paged_cache_remove(dca_paged_cache* cache, int64_t sequence);

/* Appends key [m, kv_heads, head_dim] (unrotated) and value [m, kv_heads, v_head_dim] to a sequence.
 * DCA_INVALID_ARGUMENT where shapes do not fit, or too few blocks are free. */
dca_status dca_paged_cache_append(dca_paged_cache* cache, const dca_threads* threads, int64_t sequence,
                                  const dca_const_tensor* key, const dca_const_tensor* value);

/* Writes the tokens of a sequence. */
dca_status dca_paged_cache_length(const dca_paged_cache* cache, int64_t sequence, int64_t* length);

/* Writes the number of blocks, free or not. */
dca_status dca_paged_cache_blocks(const dca_paged_cache* cache, int64_t* blocks);

/* Writes the number of free blocks. */
dca_status dca_paged_cache_free_blocks(const dca_paged_cache* cache, int64_t* blocks);

/* Writes the tokens of a block. */
dca_status dca_paged_cache_block_size(const dca_paged_cache* cache, int64_t* tokens);

/* Writes the bytes held for keys, values and summaries. */
dca_status dca_paged_cache_bytes(const dca_paged_cache* cache, int64_t* bytes);

/* A fixed number of blocks of tokens, each with a count of its users. Which blocks a sequence has is the caller's. */
typedef struct dca_pool dca_pool;

/* The blocks of a sequence: tokens [b * block_size, (b + 1) * block_size) are in block blocks[b]. */
typedef struct dca_block_table {
  const int64_t* blocks; /* NULL where block_count is 0 */
  int64_t block_count;
  int64_t length; /* tokens */
} dca_block_table;

/* Makes a pool of `blocks` free blocks of `block_size` tokens; as dca_cache_create. */
dca_status dca_pool_create(const dca_attention* attention, const dca_cache_config* config, int64_t blocks,
                           int64_t block_size, dca_pool** pool);

/* Destroys a pool. */
dca_status dca_pool_destroy(dca_pool* pool);

/* As dca_cache_set_key_offset, before the first block is taken. */
dca_status dca_pool_set_key_offset(dca_pool* pool, const dca_const_tensor* key_offset);

/* Takes a free block, now with one user, and writes its number. DCA_INVALID_ARGUMENT where none is free. */
dca_status dca_pool_take(dca_pool* pool, int64_t* block);

/* One more user of a block in use. */
dca_status dca_pool_share(dca_pool* pool, int64_t block);

/* One user less of a block in use; it is free when none is left. */
dca_status dca_pool_give_back(dca_pool* pool, int64_t block);

/* Writes the users of a block, 0 where it is free. */
dca_status dca_pool_users(const dca_pool* pool, int64_t block, int64_t* users);

/* Writes batch b of key [table_count, m, kv_heads, head_dim] (unrotated) and value likewise after the tokens of
 * tables[b], into blocks that the tables name already; the caller then adds m to their lengths. May drop the batch with
 * one table. DCA_INVALID_ARGUMENT where shapes do not fit, a table is too short, or a block to be written is not in
 * use, has several users or is there twice. */
dca_status dca_pool_append(dca_pool* pool, const dca_threads* threads, const dca_block_table* tables,
                           int64_t table_count, const dca_const_tensor* key, const dca_const_tensor* value);

/* Copies the first `tokens` tokens of block `from` to block `to`; they keep their positions. DCA_INVALID_ARGUMENT for
 * blocks not in use, where `to` has several users or is `from`, and unless 0 <= tokens <= block_size. */
dca_status dca_pool_copy_tokens(dca_pool* pool, int64_t from, int64_t to, int64_t tokens);

/* As dca_pool_copy_tokens, from a block of another pool of the same shape, storages and placement of keys. */
dca_status dca_pool_copy_tokens_from(dca_pool* pool, const dca_pool* other, int64_t from, int64_t to, int64_t tokens);

/* Writes the number of blocks, free or not. */
dca_status dca_pool_blocks(const dca_pool* pool, int64_t* blocks);

/* Writes the number of free blocks. */
dca_status dca_pool_free_blocks(const dca_pool* pool, int64_t* blocks);

/* Writes the tokens of a block. */
dca_status dca_pool_block_size(const dca_pool* pool, int64_t* tokens);

/* Writes the bytes held for keys, values and summaries. */
dca_status dca_pool_bytes(const dca_pool* pool, int64_t* bytes);

/* ---- Calls ---- */

/* What policies chose, for inspection: calls append to it. */
typedef struct dca_choices dca_choices;

/* Which keys of distant chunks are visited: every one, which is exact; the first and the most recent of them; or the
 * blocks in which the queries may find the most. */
enum { DCA_POLICY_ALL = 0, DCA_POLICY_FIRST_AND_RECENT = 1, DCA_POLICY_TOP_BLOCKS = 2 };

/* A policy with its numbers. */
typedef struct dca_selection {
  size_t struct_size;
  int32_t policy;        /* DCA_POLICY_... */
  int64_t keys;          /* of top_blocks, required: how many a query visits, rounded up to whole blocks */
  int64_t first;         /* of first_and_recent: keys from the beginning */
  int64_t recent;        /* of first_and_recent, required: keys before the end */
  int64_t block;         /* of both: keys of a block; a cache must have summaries of as many */
  int64_t query_block;   /* of top_blocks: neighbouring tokens that share a choice */
  double trust_in_bound; /* of top_blocks: 1 ranks blocks by the best key that they could hold, 0 by their mean key */
} dca_selection;
#define DCA_SELECTION_INIT \
  { sizeof(dca_selection), DCA_POLICY_ALL, -1, 128, -1, 128, 128, 1.0 }

/* Optional arguments of one call. What it points to is read during the call alone. */
typedef struct dca_options {
  size_t struct_size;
  /* Read where has_q_offset is 1: the absolute position of query row 0; default kv_len - q_len. */
  int64_t q_offset;
  int32_t has_q_offset;
  /* Where to write the natural log of the sum of exp(logit) over the keys: [batch, q_len, heads], of the operator's
   * scalar. */
  dca_tensor lse;
  /* Logits that have no value and are not in lse: [heads], contiguous, of the operator's scalar. */
  dca_const_tensor sink_logits;
  /* Ragged queries: sequence s has rows [cu_seqlens[s], cu_seqlens[s + 1]). */
  const int64_t* cu_seqlens;
  int64_t cu_seqlens_size; /* sequences + 1 */
  /* Likewise ragged keys and values in tensors. */
  const int64_t* key_cu_seqlens;
  int64_t key_cu_seqlens_size;
  /* Which sequences of a cache or of tables, in the order of the call; NULL: all, but required of a dca_paged_cache. */
  const int64_t* sequences;
  int64_t sequence_count;
  dca_workspace* workspace;       /* NULL: the call takes memory for itself */
  const dca_selection* selection; /* NULL: every key is visited */
  /* Where to write a bound, from 0 to 1, of the softmax mass that a policy skips; as lse. */
  dca_tensor skipped;
  dca_choices* chosen; /* where to append what a policy chose; NULL: nowhere */
} dca_options;
#define DCA_OPTIONS_INIT                                                                                           \
  {                                                                                                                \
    sizeof(dca_options), 0, 0, DCA_NO_TENSOR, DCA_NO_TENSOR, NULL, 0, NULL, 0, NULL, 0, NULL, NULL, DCA_NO_TENSOR, \
        NULL                                                                                                       \
  }

/* Attention on keys and values in tensors.
 * out[b, r, h] = sum over visible keys j of softmax(logit)(j) * value[b, j, h / (heads / kv_heads)].
 * query [batch, q_len, heads, head_dim], key [batch, kv_len, kv_heads, head_dim], value [batch, kv_len, kv_heads,
 * v_head_dim], out [batch, q_len, heads, v_head_dim], each of any number type; all may drop the batch. With
 * key_cu_seqlens key and value are [total, ..], and with cu_seqlens query and out. Outputs must overlap nothing else.
 * options may be NULL. DCA_INVALID_ARGUMENT where shapes, strides, types, options or memory do not fit together. */
dca_status dca_attend(const dca_attention* attention, const dca_threads* threads, const dca_const_tensor* query,
                      const dca_const_tensor* key, const dca_const_tensor* value, const dca_tensor* out,
                      const dca_options* options);

/* As dca_attend, with the keys and values of a cache's sequences, those of options->sequences or all. */
dca_status dca_attend_cache(const dca_attention* attention, const dca_threads* threads, const dca_const_tensor* query,
                            const dca_cache* cache, const dca_tensor* out, const dca_options* options);

/* As dca_attend, with the keys and values of options->sequences of a paged cache. */
dca_status dca_attend_paged_cache(const dca_attention* attention, const dca_threads* threads,
                                  const dca_const_tensor* query, const dca_paged_cache* cache, const dca_tensor* out,
                                  const dca_options* options);

/* As dca_attend, with the sequences of block tables of a pool, those that options->sequences names or all. */
dca_status dca_attend_pool(const dca_attention* attention, const dca_threads* threads, const dca_const_tensor* query,
                           const dca_pool* pool, const dca_block_table* tables, int64_t table_count,
                           const dca_tensor* out, const dca_options* options);

/* Attention over some of the keys: out [batch, q_len, heads, v_head_dim], normalised over those alone, and lse [batch,
 * q_len, heads]; all may drop the batch. No keys: out 0, lse -inf. */
typedef struct dca_partial_state {
  dca_tensor out;
  dca_tensor lse;
} dca_partial_state;

typedef struct dca_const_partial_state {
  dca_const_tensor out;
  dca_const_tensor lse;
} dca_const_partial_state;

/* Merges attention over several sets of keys into that over all of them.
 * result.out = sum over states p of exp(lse_p - lse) * out_p, result.lse = lse = ln(sum of exp(lse_p)). All tensors,
 * and sink_logits [heads], have the dtype of result->out, float32 or float64; sink_logits scale out and do not change
 * lse, and may be NULL. A state may be the result itself, but not overlap it otherwise. DCA_INVALID_ARGUMENT where
 * there is no state, shapes or types differ, or memory overlaps. */
dca_status dca_merge(const dca_threads* threads, const dca_const_partial_state* states, int64_t state_count,
                     const dca_partial_state* result, const dca_const_tensor* sink_logits);

/* Makes a dca_choices without any. */
dca_status dca_choices_create(dca_choices** choices);

/* Destroys a dca_choices. */
dca_status dca_choices_destroy(dca_choices* choices);

/* Writes how many choices there are. */
dca_status dca_choices_size(const dca_choices* choices, int64_t* size);

/* One choice of some queries. */
typedef struct dca_choice {
  size_t struct_size;
  int64_t sequence; /* of the call */
  int64_t kv_head;
  dca_key_range queries; /* absolute positions of the queries that share it, [first, last) */
  dca_key_range keys;    /* absolute positions of the keys to choose from */
  const int64_t* blocks; /* chosen, ascending; valid until the next call that changes the dca_choices */
  int64_t block_count;
} dca_choice;
#define DCA_CHOICE_INIT \
  { sizeof(dca_choice), 0, 0, {0, 0}, {0, 0}, NULL, 0 }

/* Writes choice k. DCA_INVALID_ARGUMENT unless 0 <= k < size. */
dca_status dca_choices_get(const dca_choices* choices, int64_t k, dca_choice* choice);

/* Forgets all choices. */
dca_status dca_choices_clear(dca_choices* choices);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* DCA_C_DCA_H */
