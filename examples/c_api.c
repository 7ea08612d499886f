/* The library from C: a prompt goes into a cache, then tokens are decoded one by one, with the log of their softmax's
 * denominator. */
#include <dca/c/dca.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { heads = 8, kv_heads = 2, head_dim = 64, prompt = 300, steps = 5, tokens = prompt + steps };

/* What a model computes: numbers from -1 to 1. */
static float number(void) {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / 8388608.0f - 1.0f;
}

/* [count, head_count, head_dim] of tokens from `first` on. */
static dca_const_tensor rows(const float* memory, int64_t head_count, int64_t first, int64_t count) {
  dca_const_tensor tensor = DCA_NO_TENSOR;
  const int64_t shape[] = {count, head_count, head_dim};
  dca_contiguous_const(memory + first * head_count * head_dim, DCA_FLOAT32, 3, shape, &tensor);
  return tensor;
}

/* Everything that is made, so that it is destroyed at one place, whatever fails. */
typedef struct model {
  float *query, *key, *value, *out, *lse;
  dca_threads* threads;
  dca_workspace* workspace;
  dca_attention* attention;
  dca_cache* cache;
} model;

static dca_status make(model* m) {
  dca_rope_config rope = DCA_ROPE_CONFIG_INIT;
  rope.rotary_dim = head_dim;
  dca_attention_config config = DCA_ATTENTION_CONFIG_INIT;
  config.chunk_size = 96; /* for a model that was trained on 128 tokens */
  config.local_window = 16;
  config.rope = &rope;
  dca_status status = dca_attention_create(&config, &m->attention);
  if (status != DCA_OK) return status;

  dca_cache_config shape = DCA_CACHE_CONFIG_INIT;
  shape.key_dtype = DCA_FLOAT16;
  shape.kv_heads = kv_heads;
  shape.head_dim = head_dim;
  shape.v_head_dim = head_dim;
  status = dca_cache_create(m->attention, &shape, 1, tokens, 0, &m->cache);
  if (status != DCA_OK) return status;

  status = dca_threads_create(2, &m->threads);
  return status != DCA_OK ? status : dca_workspace_create(&m->workspace);
}

/* Appends the keys and values of tokens [first, first + count), and attends from their queries. */
static dca_status step(model* m, int64_t first, int64_t count) {
  const dca_const_tensor query = rows(m->query, heads, first, count);
  const dca_const_tensor key = rows(m->key, kv_heads, first, count), value = rows(m->value, kv_heads, first, count);
  const int64_t shape[] = {count, heads, head_dim};
  dca_tensor out = DCA_NO_TENSOR;
  dca_options options = DCA_OPTIONS_INIT;
  dca_contiguous(m->out, DCA_FLOAT32, 3, shape, &out);
  dca_contiguous(m->lse, DCA_FLOAT32, 2, shape, &options.lse);
  options.workspace = m->workspace;

  const dca_status status = dca_cache_append(m->cache, m->threads, 0, &key, &value);
  if (status != DCA_OK) return status;
  return dca_attend_cache(m->attention, m->threads, &query, m->cache, &out, &options);
}

static dca_status run(model* m) {
  dca_status status = step(m, 0, prompt);
  for (int64_t token = prompt; status == DCA_OK && token < tokens; ++token) {
    status = step(m, token, 1);
    if (status == DCA_OK) printf("token %d: out %.6f, lse %.6f\n", (int)token, (double)m->out[0], (double)m->lse[0]);
  }
  return status;
}

static float* random_rows(size_t head_count) {
  const size_t size = tokens * head_count * head_dim;
  float* memory = malloc(size * sizeof(float));
  for (size_t k = 0; memory != NULL && k < size; ++k) memory[k] = number();
  return memory;
}

int main(void) {
  printf("dca %s\n", dca_version());
  model m = {NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
  m.query = random_rows(heads);
  m.key = random_rows(kv_heads);
  m.value = random_rows(kv_heads);
  m.out = random_rows(heads);
  m.lse = random_rows(heads);
  dca_status status = DCA_OUT_OF_MEMORY;
  if (m.query != NULL && m.key != NULL && m.value != NULL && m.out != NULL && m.lse != NULL) {
    status = make(&m);
    if (status == DCA_OK) status = run(&m);
    if (status != DCA_OK) fprintf(stderr, "%s\n", dca_last_error());
  }

  /* The cache is full: one more token is an error, and changes nothing. */
  int64_t length = 0;
  if (status == DCA_OK) {
    const dca_const_tensor key = rows(m.key, kv_heads, 0, 1), value = rows(m.value, kv_heads, 0, 1);
    const dca_status refused = dca_cache_append(m.cache, m.threads, 0, &key, &value);
    printf("refused: %s\n", dca_last_error());
    dca_cache_length(m.cache, 0, &length);
    if (refused != DCA_INVALID_ARGUMENT || length != tokens || !isfinite(m.lse[0])) status = DCA_UNKNOWN_ERROR;
  }

  dca_cache_destroy(m.cache);
  dca_attention_destroy(m.attention);
  dca_workspace_destroy(m.workspace);
  dca_threads_destroy(m.threads);
  free(m.query);
  free(m.key);
  free(m.value);
  free(m.out);
  free(m.lse);
  return status == DCA_OK ? 0 : 1;
}
