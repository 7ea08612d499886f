// The C interface from tests in C++: handles that destroy themselves, and tensors of views.
#pragma once

#include <dca/c/dca.h>

#include <memory>

#include "support/catch.hpp"
#include "support/selecting.hpp"

namespace dca_test::c {

template <auto destroy>
struct Destroyer {
  template <class Handle>
  void operator()(Handle* handle) const {
    CHECK(destroy(handle) == DCA_OK);
  }
};
using AttentionHandle = std::unique_ptr<dca_attention, Destroyer<dca_attention_destroy>>;
using CacheHandle = std::unique_ptr<dca_cache, Destroyer<dca_cache_destroy>>;
using PagedCacheHandle = std::unique_ptr<dca_paged_cache, Destroyer<dca_paged_cache_destroy>>;
using PoolHandle = std::unique_ptr<dca_pool, Destroyer<dca_pool_destroy>>;
using ThreadsHandle = std::unique_ptr<dca_threads, Destroyer<dca_threads_destroy>>;
using WorkspaceHandle = std::unique_ptr<dca_workspace, Destroyer<dca_workspace_destroy>>;
using ChoicesHandle = std::unique_ptr<dca_choices, Destroyer<dca_choices_destroy>>;

/// Fails the test case, with the message, where a call failed. Otherwise of use in any thread, which Catch2 is not.
inline void ok(dca_status status) {
  if (status != DCA_OK) FAIL(dca_last_error());
}

template <class X>
inline constexpr dca_dtype dtype = DCA_DTYPE_NONE;
template <>
inline constexpr dca_dtype dtype<float> = DCA_FLOAT32;
template <>
inline constexpr dca_dtype dtype<double> = DCA_FLOAT64;
template <>
inline constexpr dca_dtype dtype<Eigen::half> = DCA_FLOAT16;
template <>
inline constexpr dca_dtype dtype<Eigen::bfloat16> = DCA_BFLOAT16;
template <>
inline constexpr dca_dtype dtype<dca::Int8> = DCA_INT8;
template <>
inline constexpr dca_dtype dtype<dca::Int4> = DCA_INT4;

/// A view as a dca_tensor, or a dca_const_tensor where it is read.
template <class X>
auto tensor(const dca::TensorView<X>& view) {
  std::conditional_t<std::is_const_v<X>, dca_const_tensor, dca_tensor> made = DCA_NO_TENSOR;
  made.data = view.data;
  made.dtype = dtype<std::remove_const_t<X>>;
  made.rank = view.shape.rank();
  for (int k = 0; k < made.rank; ++k) {
    made.shape[k] = view.shape[k];
    made.strides[k] = view.strides[k];
  }
  return made;
}

template <class X>
dca_const_tensor read(const dca::TensorView<X>& view) {
  return tensor(dca::TensorView<const X>(view));
}

/// A rotary embedding's settings, and those of an operator that refers to them.
struct Config {
  dca_rope_config rope = DCA_ROPE_CONFIG_INIT;
  dca_attention_config attention = DCA_ATTENTION_CONFIG_INIT;

  Config(dca::ChunkConfig chunks, Index rotary_dim, dca_dtype scalar) {
    rope.rotary_dim = rotary_dim;
    attention.scalar = scalar;
    attention.chunk_size = chunks.chunk_size;
    attention.local_window = chunks.local_window;
    attention.rope = &rope;
  }
  Config(const Config&) = delete;

  AttentionHandle make() const {
    dca_attention* made = nullptr;
    ok(dca_attention_create(&attention, &made));
    return AttentionHandle(made);
  }
};

template <class T>
AttentionHandle make_attention(dca::ChunkConfig chunks, Index rotary_dim) {
  return Config(chunks, rotary_dim, dtype<T>).make();
}

template <class Key, class Value = Key>
dca_cache_config cache_config(const Sizes& sizes, Index summary_block = 0) {
  dca_cache_config config = DCA_CACHE_CONFIG_INIT;
  config.key_dtype = dtype<Key>;
  config.value_dtype = dtype<Value>;
  config.kv_heads = sizes.kv_heads;
  config.head_dim = sizes.head_dim;
  config.v_head_dim = sizes.v_head_dim;
  config.summary_block = summary_block;
  return config;
}

/// The queries of a problem on its keys and values, by `call`, which is given query, out and options with lse.
template <class T, class Call>
Outputs<T> run(const Inputs<T>& in, dca_options options, const Call& call) {
  Outputs<T> outputs(in);
  options.lse = tensor(outputs.lse_view());
  const dca_const_tensor query = tensor(in.operands().query);
  const dca_tensor out = tensor(outputs.out_view());
  ok(call(&query, &out, &options));
  return outputs;
}

template <class T>
Outputs<T> run_dense(const AttentionHandle& attention, const Inputs<T>& in, const dca_options& options,
                     const dca_threads* threads = nullptr) {
  const Operands<T> x = in.operands();
  const dca_const_tensor key = tensor(x.key), value = tensor(x.value);
  return run(in, options, [&](const auto* query, const auto* out, const auto* with) {
    return dca_attend(attention.get(), threads, query, &key, &value, out, with);
  });
}

}  // namespace dca_test::c
