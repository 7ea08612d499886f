// Attention problems in memory of their own: inputs, results, and the reference's answer to the same.
#pragma once

#include <cstring>
#include <initializer_list>
#include <limits>
#include <string>

#include "support/bounds.hpp"
#include "support/operands.hpp"
#include "support/random.hpp"
#include "support/reference.hpp"

namespace dca_test {

using dca::Index;

struct Sizes {
  Index batch = 1;
  Index q_len = 1;
  Index kv_len = 1;
  Index heads = 1;
  Index kv_heads = 1;
  Index head_dim = 16;
  Index v_head_dim = 16;
};

/// Query, key and value in [batch, length, heads, features] order.
template <class T>
struct Inputs {
  Sizes sizes;
  std::vector<T> query, key, value;

  Inputs(const Sizes& s, Random& random, double query_gain = 1.0)
      : sizes(s),
        query(random.normal<T>(s.batch * s.q_len * s.heads * s.head_dim, query_gain)),
        key(random.normal<T>(s.batch * s.kv_len * s.kv_heads * s.head_dim)),
        value(random.normal<T>(s.batch * s.kv_len * s.kv_heads * s.v_head_dim)) {}

  dca::Extents query_shape() const { return {sizes.batch, sizes.q_len, sizes.heads, sizes.head_dim}; }
  dca::Extents key_shape() const { return {sizes.batch, sizes.kv_len, sizes.kv_heads, sizes.head_dim}; }
  dca::Extents value_shape() const { return {sizes.batch, sizes.kv_len, sizes.kv_heads, sizes.v_head_dim}; }
  dca::Extents out_shape() const { return {sizes.batch, sizes.q_len, sizes.heads, sizes.v_head_dim}; }
  dca::Extents lse_shape() const { return {sizes.batch, sizes.q_len, sizes.heads}; }

  Operands<T> operands() const {
    return {dca::contiguous(query.data(), query_shape()), dca::contiguous(key.data(), key_shape()),
            dca::contiguous(value.data(), value_shape())};
  }
};

/// Outputs, filled with NaN until something is written.
template <class T>
struct Outputs {
  dca::Extents out_shape, lse_shape;
  std::vector<T> out, lse;

  explicit Outputs(const Inputs<T>& inputs)
      : out_shape(inputs.out_shape()),
        lse_shape(inputs.lse_shape()),
        out(static_cast<std::size_t>(out_shape[0] * out_shape[1] * out_shape[2] * out_shape[3]), nan()),
        lse(static_cast<std::size_t>(lse_shape[0] * lse_shape[1] * lse_shape[2]), nan()) {}

  dca::TensorView<T> out_view() { return dca::contiguous(out.data(), out_shape); }
  dca::TensorView<T> lse_view() { return dca::contiguous(lse.data(), lse_shape); }
  /// For a merge.
  dca::PartialState<const T> state() const {
    return {dca::contiguous(out.data(), out_shape), dca::contiguous(lse.data(), lse_shape)};
  }

 private:
  static T nan() { return std::numeric_limits<T>::quiet_NaN(); }
};

/// Runs an operator with lse.
template <class Attention, class T, class Device = Eigen::DefaultDevice>
Outputs<T> run(const Attention& attention, const Inputs<T>& inputs, dca::CallOptions<T> options = {},
               const Device& device = {}) {
  Outputs<T> outputs(inputs);
  options.lse = outputs.lse_view();
  const Operands<T> x = inputs.operands();
  attention(device, x.query, x.key, x.value, outputs.out_view(), options);
  return outputs;
}

/// As run, on a pool of `threads` threads.
template <class Attention, class T>
Outputs<T> run_threaded(const Attention& attention, const Inputs<T>& inputs, int threads,
                        const dca::CallOptions<T>& options = {}) {
  Eigen::ThreadPool pool(threads);
  return run(attention, inputs, options, Eigen::ThreadPoolDevice(&pool, threads));
}

/// Merges states, in the order given.
template <class T, class Device = Eigen::DefaultDevice>
void merge_states(std::initializer_list<dca::PartialState<const T>> states, Outputs<T>& merged,
                  std::type_identity_t<std::span<const T>> sinks = {}, const Device& device = {}) {
  dca::merge(device, std::span<const dca::PartialState<const T>>(states.begin(), states.size()),
             dca::PartialState<T>{merged.out_view(), merged.lse_view()}, sinks);
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
bool same_bits(const Outputs<T>& a, const Outputs<T>& b) {
  return same_bits(a.out, b.out) && same_bits(a.lse, b.lse);
}

/// A tensor converted to another type of numbers.
template <class X, class T>
std::vector<X> as(const std::vector<T>& x) {
  std::vector<X> to;
  for (const T value : x) to.push_back(static_cast<X>(value));
  return to;
}

template <class T>
Array to_array(const std::vector<T>& values, const dca::Extents& shape) {
  Shape sizes;
  for (int k = 0; k < shape.rank(); ++k) sizes.push_back(shape[k]);
  return Array(sizes, std::vector<double>(values.begin(), values.end()));
}

/// The reference's answer. q_offset is taken from `options` as it stands.
template <class T>
reference::Result reference_of(const Inputs<T>& inputs, const reference::PositionMatrix& positions,
                               const reference::Rope& rope, const reference::Options& options = {}) {
  return reference::attention(to_array(inputs.query, inputs.query_shape()), to_array(inputs.key, inputs.key_shape()),
                              to_array(inputs.value, inputs.value_shape()), positions, rope, options);
}

/// Whether outputs are what the reference says, within bounds; empty if so, else a description for INFO or a failure.
template <class T>
std::string difference(const Outputs<T>& actual, const reference::Result& expected, const Magnitudes& magnitudes = {}) {
  const double out_error = largest_error(actual.out, expected.out);
  const double out_limit = out_bound<T>(magnitudes, largest_finite(expected.out));
  const double lse_error = largest_error(actual.lse, expected.lse);
  const double lse_limit = lse_bound<T>(magnitudes, largest_finite(expected.lse));
  if (out_error <= out_limit && lse_error <= lse_limit) return "";
  return "out off by " + std::to_string(out_error / out_limit) + " bounds, lse by " +
         std::to_string(lse_error / lse_limit) + " bounds";
}

/// The two ways to say a rotary embedding: to the library and to the reference.
struct Ropes {
  dca::RotaryEmbedding library;
  reference::Rope reference;
};

inline Ropes make_ropes(Index rotary_dim, double theta = 10000.0, double attention_factor = 1.0,
                        bool interleaved = false) {
  const std::vector<double> inv_freq = reference::inverse_frequencies(rotary_dim, theta);
  return {dca::RotaryEmbedding({.inv_freq = inv_freq, .attention_factor = attention_factor},
                               interleaved ? dca::RopePairing::interleaved : dca::RopePairing::half),
          {inv_freq, attention_factor, interleaved}};
}

/// An operator of chunked parts with plain RoPE over all features.
template <class Attention>
Attention make_chunked(dca::ChunkConfig chunks, Index rotary_dim) {
  return Attention({.chunks = chunks, .rope = make_ropes(rotary_dim).library});
}

}  // namespace dca_test
