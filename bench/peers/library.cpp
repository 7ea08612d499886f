// What library.py loads: this library behind a C interface, and the machine's limits.
#define EIGEN_USE_THREADS
#include <cstdint>
#include <dca/dca.hpp>
#include <map>
#include <memory>
#include <string>

#include "machine_limits.hpp"

namespace {

/// Queries and out [length, heads, head_dim], keys and values [length, kv_heads, head_dim], dense. The fields are those
/// of the structure of the same name in library.py.
struct Prefill {
  const void* query;
  const void* key;
  const void* value;
  void* out;
  std::int64_t length;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t chunk_size;  // 0: causal attention, nothing remapped
  std::int64_t local_window;
  std::int64_t bfloat16;  // 0: float
  std::int64_t threads;
};

struct Pool {
  explicit Pool(int threads) : pool(threads), device(&pool, threads) {}
  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;
};

const Eigen::ThreadPoolDevice& device_of(int threads) {
  static std::map<int, std::unique_ptr<Pool>> pools;
  std::unique_ptr<Pool>& pool = pools[threads];
  if (!pool) pool = std::make_unique<Pool>(threads);
  return pool->device;
}

/// A model has one for all its layers: making it is not part of a call.
const dca::RotaryEmbedding& rope_of(std::int64_t head_dim) {
  static std::map<std::int64_t, dca::RotaryEmbedding> ropes;
  return ropes.try_emplace(head_dim, dca::plain_frequencies(head_dim, 10000.0)).first->second;
}

template <class E>
void run(const Prefill& call) {
  using dca::contiguous;
  const auto pointer = [](const void* data) { return static_cast<const E*>(data); };
  const dca::Extents of_query{call.length, call.heads, call.head_dim},
      of_key{call.length, call.kv_heads, call.head_dim};
  const auto query = contiguous(pointer(call.query), of_query);
  const auto key = contiguous(pointer(call.key), of_key);
  const auto value = contiguous(pointer(call.value), of_key);
  const auto out = contiguous(static_cast<E*>(call.out), of_query);
  const dca::RotaryEmbedding& rope = rope_of(call.head_dim);
  const auto attend = [&](const auto& attention) {
    if (call.threads == 1) {
      attention(Eigen::DefaultDevice{}, query, key, value, out);
    } else {
      attention(device_of(static_cast<int>(call.threads)), query, key, value, out);
    }
  };
  if (call.chunk_size == 0) {
    attend(dca::CausalAttention<float>({.rope = rope}));
  } else {
    const dca::ChunkConfig chunks{.chunk_size = call.chunk_size, .local_window = call.local_window};
    attend(dca::DualChunkAttention<float>({.chunks = chunks, .rope = rope}));
  }
}

/// A sequence in a cache of this library, to be decoded from again and again.
class Decoding {
 public:
  virtual ~Decoding() = default;
  /// query and out [1, heads, head_dim], of the type that the sequence was made with.
  virtual void step(const void* query, void* out, std::int64_t heads, std::int64_t threads) = 0;
  virtual std::int64_t bytes() const = 0;
};

/// Queries and new tokens of type E, keys and values stored as S.
template <class E, class S>
class CachedDecoding : public Decoding {
 public:
  explicit CachedDecoding(const Prefill& tokens)
      : shape_{.kv_heads = tokens.kv_heads, .head_dim = tokens.head_dim, .v_head_dim = tokens.head_dim},
        attention_({.chunks = dca::ChunkConfig{.chunk_size = tokens.chunk_size, .local_window = tokens.local_window},
                    .rope = rope_of(tokens.head_dim)}),
        cache_(attention_.template make_cache<S>(shape_, 1, {.tokens = tokens.length})) {
    const dca::Extents rows{tokens.length, tokens.kv_heads, tokens.head_dim};
    cache_.append(Eigen::DefaultDevice{}, 0, dca::contiguous(static_cast<const E*>(tokens.key), rows),
                  dca::contiguous(static_cast<const E*>(tokens.value), rows));
  }

  void step(const void* query, void* out, std::int64_t heads, std::int64_t threads) override {
    const dca::Extents row{1, heads, shape_.head_dim};
    const auto q = dca::contiguous(static_cast<const E*>(query), row);
    const auto o = dca::contiguous(static_cast<E*>(out), row);
    if (threads == 1) {
      attention_(Eigen::DefaultDevice{}, q, cache_, o, {.workspace = &workspace_});
    } else {
      attention_(device_of(static_cast<int>(threads)), q, cache_, o, {.workspace = &workspace_});
    }
  }

  std::int64_t bytes() const override { return cache_.bytes(); }

 private:
  dca::CacheShape shape_;
  dca::DualChunkAttention<float> attention_;
  dca::KeyValueCache<S> cache_;
  dca::Workspace workspace_;
};

std::unique_ptr<Decoding> make_decoding(const Prefill& tokens, const std::string& kv_type) {
  if (kv_type == "float") return std::make_unique<CachedDecoding<float, float>>(tokens);
  if (kv_type == "bfloat16") return std::make_unique<CachedDecoding<Eigen::bfloat16, Eigen::bfloat16>>(tokens);
  if (kv_type == "half") return std::make_unique<CachedDecoding<float, Eigen::half>>(tokens);
  if (kv_type == "int8") return std::make_unique<CachedDecoding<float, dca::Int8>>(tokens);
  if (kv_type == "int4") return std::make_unique<CachedDecoding<float, dca::Int4>>(tokens);
  throw std::invalid_argument("kv_type " + kv_type);
}

}  // namespace

#define DCA_BENCH_API extern "C" __attribute__((visibility("default")))

/// Null, or what went wrong (valid until the next call).
DCA_BENCH_API const char* dca_bench_prefill(const Prefill* call) {
  static std::string message;
  try {
    if (call->bfloat16 != 0) {
      run<Eigen::bfloat16>(*call);
    } else {
      run<float>(*call);
    }
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

/// A cache with the keys and values of `tokens`, stored as `kv_type`; null where that fails. Queries are of type float,
/// or bfloat16 with that kv_type.
DCA_BENCH_API void* dca_bench_make_decoding(const Prefill* tokens, const char* kv_type) {
  try {
    return make_decoding(*tokens, kv_type).release();
  } catch (const std::exception&) {
    return nullptr;
  }
}

DCA_BENCH_API void dca_bench_end_decoding(void* decoding) { delete static_cast<Decoding*>(decoding); }

DCA_BENCH_API std::int64_t dca_bench_decoding_bytes(void* decoding) {
  return static_cast<Decoding*>(decoding)->bytes();
}

/// Null, or what went wrong (valid until the next call).
DCA_BENCH_API const char* dca_bench_decode(void* decoding, const void* query, void* out, std::int64_t heads,
                                           std::int64_t threads) {
  static std::string message;
  try {
    static_cast<Decoding*>(decoding)->step(query, out, heads, threads);
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

/// FLOP/s in float, best of `rounds` rounds.
DCA_BENCH_API double dca_bench_fma_peak(int threads, int rounds) {
  return dca::bench::fma_peak<float>(threads, rounds);
}

DCA_BENCH_API const char* dca_bench_fma_peak_method() { return dca::bench::fma_peak_method; }

/// Bytes per second.
DCA_BENCH_API double dca_bench_read_bandwidth(int threads) { return dca::bench::read_bandwidth(threads); }

DCA_BENCH_API const char* dca_bench_instruction_set() { return dca::kernel_info().instruction_set; }
