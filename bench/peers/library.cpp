// What library.py loads: this library behind a C interface, and the machine's limits.
#include <array>
#include <cstdint>
#include <dca/compiled.hpp>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

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

using dca::compiled::contiguous;
using dca::compiled::DType;

dca::Executor executor_of(std::int64_t threads) {
  static std::map<std::int64_t, dca::compiled::Threads> pools;
  return pools.try_emplace(threads, threads).first->second.executor();
}

/// A model has one for all its layers: making it is not part of a call.
const dca::compiled::Attention& attention_of(const Prefill& call) {
  static std::map<std::array<std::int64_t, 3>, dca::compiled::Attention> attentions;
  using dca::compiled::Composition;
  const dca::compiled::AttentionConfig config{
      .composition = call.chunk_size == 0 ? Composition::causal : Composition::dual_chunk,
      .chunks = {.chunk_size = call.chunk_size, .local_window = call.local_window},
      .rope = {.rotary_dim = call.head_dim}};
  return attentions.try_emplace({call.chunk_size, call.local_window, call.head_dim}, config).first->second;
}

void run(const Prefill& call) {
  const DType dtype = call.bfloat16 != 0 ? DType::bfloat16 : DType::float32;
  const auto rows = [&](const void* data, std::int64_t heads) {
    return contiguous(data, dtype, {call.length, heads, call.head_dim});
  };
  attention_of(call)(executor_of(call.threads), rows(call.query, call.heads), rows(call.key, call.kv_heads),
                     rows(call.value, call.kv_heads),
                     contiguous(call.out, dtype, {call.length, call.heads, call.head_dim}));
}

DType storage_of(const std::string& kv_type) {
  if (kv_type == "float") return DType::float32;
  if (kv_type == "bfloat16") return DType::bfloat16;
  if (kv_type == "half") return DType::float16;
  if (kv_type == "int8") return DType::int8;
  if (kv_type == "int4") return DType::int4;
  throw std::invalid_argument("kv_type " + kv_type);
}

/// A sequence in a cache of this library, to be decoded from again and again.
class Decoding {
 public:
  /// offset_keys: that many first keys of which a key offset is estimated; 0: none.
  Decoding(const Prefill& tokens, DType storage, std::int64_t offset_keys)
      : head_dim_(tokens.head_dim),
        dtype_(storage == DType::bfloat16 ? DType::bfloat16 : DType::float32),
        attention_(attention_of(tokens)),
        cache_(attention_.make_cache({storage},
                                     {.kv_heads = tokens.kv_heads, .head_dim = head_dim_, .v_head_dim = head_dim_}, 1,
                                     {.tokens = tokens.length})) {
    const auto rows = [&](const void* data) {
      return contiguous(data, dtype_, {tokens.length, tokens.kv_heads, head_dim_});
    };
    if (offset_keys > 0) {
      std::vector<float> offset(static_cast<std::size_t>(tokens.kv_heads * head_dim_));
      attention_.estimate_key_offset(contiguous(tokens.key, dtype_, {offset_keys, tokens.kv_heads, head_dim_}), offset);
      cache_.set_key_offset(contiguous(offset.data(), DType::float32, {tokens.kv_heads, head_dim_}));
    }
    cache_.append({}, 0, rows(tokens.key), rows(tokens.value));
  }

  /// query and out [1, heads, head_dim], of the type that the sequence was made with.
  void step(const void* query, void* out, std::int64_t heads, std::int64_t threads) {
    attention_(executor_of(threads), contiguous(query, dtype_, {1, heads, head_dim_}), cache_,
               contiguous(out, dtype_, {1, heads, head_dim_}), {.workspace = &workspace_});
  }

  std::int64_t bytes() const { return cache_.bytes(); }

 private:
  std::int64_t head_dim_;
  DType dtype_;
  const dca::compiled::Attention& attention_;
  dca::compiled::KeyValueCache cache_;
  dca::compiled::Workspace workspace_;
};

}  // namespace

#define DCA_BENCH_API extern "C" __attribute__((visibility("default")))

/// Null, or what went wrong (valid until the next call).
DCA_BENCH_API const char* dca_bench_prefill(const Prefill* call) {
  static std::string message;
  try {
    run(*call);
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

/// A cache with the keys and values of `tokens`, stored as `kv_type`, with a key offset estimated of the first
/// `offset_keys` keys where that is not 0; null where that fails. Queries are of type float,
/// or bfloat16 with that kv_type.
DCA_BENCH_API void* dca_bench_make_decoding(const Prefill* tokens, const char* kv_type, std::int64_t offset_keys) {
  try {
    return new Decoding(*tokens, storage_of(kv_type), offset_keys);
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

DCA_BENCH_API const char* dca_bench_instruction_set() { return dca::compiled::kernels_in_use().instruction_set; }
