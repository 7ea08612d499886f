/* dlopen_program LIBRARY: a program that knows nothing of the library but its header, and loads it while it runs.
 * Checks Dual Chunk Attention against its definition, a double loop. */
#include <dca/c/dca.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { length = 40, features = 4, pairs = features / 2, chunk_size = 12, local_window = 4 };

static float query[length][features], key[length][features], value[length][features], out[length][features];

static float number(void) {
  static uint32_t state = 7;
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / 8388608.0f - 1.0f;
}

/* Where query i stands when it looks at key j, less where the key stands. */
static int distance(int i, int j) {
  const int chunk_len = chunk_size - local_window, chunks_between = i / chunk_len - j / chunk_len;
  int position = i % chunk_len; /* of the query, in its own chunk */
  if (chunks_between == 1) position = position + chunk_len < chunk_size ? position + chunk_len : chunk_size;
  if (chunks_between > 1) position = 2 * chunk_len - 1 < chunk_size ? 2 * chunk_len - 1 : chunk_size;
  return position - j % chunk_len;
}

/* <R(distance) q_i, k_j> / sqrt(features), pairs (m, m + pairs) turned as complex numbers. */
static double logit(int i, int j) {
  double sum = 0;
  for (int m = 0; m < pairs; ++m) {
    const double angle = distance(i, j) * pow(10000.0, -(double)m / pairs);
    const double q0 = (double)query[i][m], q1 = (double)query[i][m + pairs];
    const double k0 = (double)key[j][m], k1 = (double)key[j][m + pairs];
    sum += cos(angle) * (q0 * k0 + q1 * k1) + sin(angle) * (q0 * k1 - q1 * k0);
  }
  return sum / sqrt(features);
}

static double largest_error(void) {
  double largest = 0;
  for (int i = 0; i < length; ++i) {
    double sums[features] = {0}, total = 0;
    for (int j = 0; j <= i; ++j) {
      const double weight = exp(logit(i, j));
      total += weight;
      for (int d = 0; d < features; ++d) sums[d] += weight * (double)value[j][d];
    }
    for (int d = 0; d < features; ++d) largest = fmax(largest, fabs(sums[d] / total - (double)out[i][d]));
  }
  return largest;
}

/* What is used of the library. */
typedef struct functions {
  const char* (*version)(void);
  const char* (*last_error)(void);
  dca_status (*contiguous)(void*, dca_dtype, int32_t, const int64_t*, dca_tensor*);
  dca_status (*contiguous_const)(const void*, dca_dtype, int32_t, const int64_t*, dca_const_tensor*);
  dca_status (*create)(const dca_attention_config*, dca_attention**);
  dca_status (*destroy)(dca_attention*);
  dca_status (*attend)(const dca_attention*, const dca_threads*, const dca_const_tensor*, const dca_const_tensor*,
                       const dca_const_tensor*, const dca_tensor*, const dca_options*);
} functions;

/* C has no cast from what dlsym returns to a function; POSIX has the copy of its bytes. */
static int find(void* library, const char* name, void* function) {
  void* const symbol = dlsym(library, name);
  if (symbol == NULL) fprintf(stderr, "%s\n", dlerror());
  memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
}

static int find_all(void* library, functions* f) {
  return find(library, "dca_version", &f->version) && find(library, "dca_last_error", &f->last_error) &&
         find(library, "dca_contiguous", &f->contiguous) &&
         find(library, "dca_contiguous_const", &f->contiguous_const) &&
         find(library, "dca_attention_create", &f->create) && find(library, "dca_attention_destroy", &f->destroy) &&
         find(library, "dca_attend", &f->attend);
}

static int run(const functions* f) {
  const int64_t shape[] = {length, 1, features};
  dca_const_tensor q = DCA_NO_TENSOR, k = DCA_NO_TENSOR, v = DCA_NO_TENSOR;
  dca_tensor o = DCA_NO_TENSOR;
  dca_rope_config rope = DCA_ROPE_CONFIG_INIT;
  dca_attention_config config = DCA_ATTENTION_CONFIG_INIT;
  dca_attention* attention = NULL;
  rope.rotary_dim = features;
  config.chunk_size = chunk_size;
  config.local_window = local_window;
  config.rope = &rope;
  if (strcmp(f->version(), DCA_VERSION_STRING) != 0 || strcmp(f->last_error(), "") != 0) return 0;
  if (f->contiguous_const(query, DCA_FLOAT32, 3, shape, &q) != DCA_OK ||
      f->contiguous_const(key, DCA_FLOAT32, 3, shape, &k) != DCA_OK ||
      f->contiguous_const(value, DCA_FLOAT32, 3, shape, &v) != DCA_OK ||
      f->contiguous(out, DCA_FLOAT32, 3, shape, &o) != DCA_OK || f->create(&config, &attention) != DCA_OK ||
      f->attend(attention, NULL, &q, &k, &v, &o, NULL) != DCA_OK) {
    return 0;
  }
  const double error = largest_error();
  printf("off by at most %g\n", error);
  return error < 1e-5 && f->destroy(attention) == DCA_OK && f->destroy(attention) == DCA_INVALID_ARGUMENT;
}

int main(int argc, char** argv) {
  functions f;
  void* const library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (library == NULL) {
    fprintf(stderr, "%s\n", argc == 2 ? dlerror() : "usage: dlopen_program LIBRARY");
    return 1;
  }
  float* const all[] = {query[0], key[0], value[0]};
  for (int t = 0; t < 3; ++t) {
    for (int k = 0; k < length * features; ++k) all[t][k] = number();
  }
  if (!find_all(library, &f)) return 1;
  if (!run(&f)) {
    fprintf(stderr, "failed: %s\n", f.last_error());
    return 1;
  }
  return dlclose(library) == 0 ? 0 : 1;
}
