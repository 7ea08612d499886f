// Calls on tensors.
#include "fuzz/operator_dense.hpp"
#include "fuzz/operator_targets.hpp"
#include "fuzz/own_parts.hpp"

namespace dca_fuzz {
namespace {

Eigen::ThreadPool& pool() {
  static Eigen::ThreadPool three(3);
  return three;
}

/// A part of Dual Chunk Attention: chunks that are `least` to `most` apart.
reference::PositionMatrix part_of(dca::ChunkConfig chunks, Index least, Index most) {
  const auto all = reference::dual_chunk(chunks.chunk_size, chunks.local_window);
  const Index n = chunks.chunk_size - chunks.local_window;
  return [=](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
    const std::int64_t gap = i / n - j / n;
    if (gap < least || gap > most) return std::nullopt;
    return all(i, j);
  };
}

/// An operator on tensors of T, with threads or without.
template <class T, bool has_threads, class Attention>
void check_tensors(Bytes& bytes, const Case& c, const Attention& attention, const reference::PositionMatrix& positions,
                   double largest_position) {
  const auto on = [&](const auto& device) {
    return [&](const Arguments<T, T, T>& x) { attention(device, x.query, x.key, x.value, x.out, x.options); };
  };
  const Eigen::DefaultDevice alone;
  if constexpr (has_threads) {
    const Eigen::ThreadPoolDevice threads(&pool(), static_cast<int>(bytes.integer(1, 3)));
    check_dense<T, T, T>(bytes, c, on(alone), on(threads), positions, largest_position);
  } else {
    check_dense<T, T, T>(bytes, c, on(alone), {}, positions, largest_position);
  }
}

template <class T>
void check_part(Bytes& bytes, const Case& c) {
  const auto config = config_of<dca::ChunkLayout>(c, c.chunks);
  const double furthest = 2.0 * static_cast<double>(c.chunks.chunk_size);
  switch (bytes.integer(0, 2)) {
    case 0:
      return check_tensors<T, false>(bytes, c, dca::IntraChunkAttention<T>(config), part_of(c.chunks, 0, 0), furthest);
    case 1:
      return check_tensors<T, false>(bytes, c, dca::SuccessiveChunkAttention<T>(config), part_of(c.chunks, 1, 1),
                                     furthest);
    default:
      return check_tensors<T, false>(bytes, c, dca::InterChunkAttention<T>(config), part_of(c.chunks, 2, 1 << 30),
                                     furthest);
  }
}

/// Tensors of E, results of O.
template <class E, class O>
void check_narrow(Bytes& bytes, const Case& c, const dca::DualChunkAttention<float>& attention,
                  const reference::PositionMatrix& positions) {
  const auto call = [&](const Arguments<float, E, O>& x) {
    attention(Eigen::DefaultDevice{}, x.query, x.key, x.value, x.out, x.options);
  };
  check_dense<float, E, O>(bytes, c, call, {}, positions, 1e4);
}

}  // namespace

void fuzz_dual_chunk(Bytes& bytes) {
  const Index type = bytes.integer(0, 3);
  const Case c = case_of(bytes);
  const auto config = config_of<dca::ChunkLayout>(c, c.chunks);
  const auto positions = reference::dual_chunk(c.chunks.chunk_size, c.chunks.local_window);
  if (type == 1) return check_tensors<double, true>(bytes, c, dca::DualChunkAttention<double>(config), positions, 1e4);
  const dca::DualChunkAttention<float> attention(config);
  if (type == 2 && c.value_gain >= 1e-3) {
    return check_narrow<Eigen::half, Eigen::half>(bytes, c, attention, positions);
  }
  if (type == 3) return check_narrow<Eigen::bfloat16, float>(bytes, c, attention, positions);
  check_tensors<float, true>(bytes, c, attention, positions, 1e4);
}

void fuzz_causal(Bytes& bytes) {
  const bool wide = bytes.one_in(3);
  const Case c = case_of(bytes);
  const auto config = config_of(c, dca::Unchunked{});
  if (wide)
    return check_tensors<double, true>(bytes, c, dca::CausalAttention<double>(config), reference::causal(), 1e4);
  check_tensors<float, true>(bytes, c, dca::CausalAttention<float>(config), reference::causal(), 1e4);
}

void fuzz_parts(Bytes& bytes) {
  const bool wide = bytes.one_in(3);
  const Case c = case_of(bytes);
  if (wide) return check_part<double>(bytes, c);
  check_part<float>(bytes, c);
}

void fuzz_own(Bytes& bytes) {
  const Case c = case_of(bytes);
  const OwnLayout layout = own_layout(bytes);
  check_tensors<float, false>(bytes, c, OwnAttention<float>(config_of(c, layout)), own_positions(layout),
                              1e4 + std::abs(static_cast<double>(layout.shift)));
}

}  // namespace dca_fuzz
