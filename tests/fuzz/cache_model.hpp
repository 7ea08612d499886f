// Tokens with a number each, which says what their keys and values are: what the models of caches are made of.
#pragma once

#include <dca/dca.hpp>

#include "fuzz/stored_rows.hpp"
#include "support/problem.hpp"

namespace dca_fuzz {

constexpr dca::ChunkConfig cache_chunks{11, 4};
constexpr Index chunk_len = 7;

/// Sizes of a cache's tokens, and their numbers.
struct Tokens {
  dca::CacheShape shape{};
  bool interleaved = false;

  explicit Tokens(Bytes& bytes) {
    shape = {bytes.integer(1, 2), 32, bytes.pick<Index>({32, 64}), bytes.pick<Index>({0, 1, 3, 4, 8, 24})};
    interleaved = bytes.one_in(2);
  }

  dca_test::Ropes ropes() const { return dca_test::make_ropes(16, 100.0, 1.0, interleaved); }

  template <class Placement>
  dca::PlacedKeys<Placement> placed() const {
    if constexpr (std::is_same_v<Placement, dca::Unplaced>) {
      return {};
    } else {
      return {dca::ChunkLayout(cache_chunks), ropes().library};
    }
  }

  /// Feature d of a token's key or value, the same for all who ask.
  static float feature(Index token, Index head, Index d, bool is_key) {
    const auto mixed = static_cast<std::uint64_t>(token * 8191 + head * 131 + d * 7 + (is_key ? 1 : 0)) *
                       std::uint64_t{0x9e3779b97f4a7c15};
    return static_cast<float>(static_cast<double>(mixed >> 40) / (1 << 23) - 1.0);
  }
  std::vector<double> row(Index token, Index head, bool is_key) const {
    std::vector<double> features;
    for (Index d = 0; d < (is_key ? shape.head_dim : shape.v_head_dim); ++d) {
      features.push_back(static_cast<double>(feature(token, head, d, is_key)));
    }
    return features;
  }
};

/// Keys and values of `count` new tokens in each of `batch` sequences, from number `first` on.
struct NewTokens {
  std::vector<float> key, value;
  dca::TensorView<const float> keys, values;

  NewTokens(const Tokens& tokens, Index first, Index batch, Index count) {
    for (Index token = first; token < first + batch * count; ++token) {
      for (Index h = 0; h < tokens.shape.kv_heads; ++h) {
        for (const double x : tokens.row(token, h, true)) key.push_back(static_cast<float>(x));
        for (const double x : tokens.row(token, h, false)) value.push_back(static_cast<float>(x));
      }
    }
    keys = dca::contiguous<const float>(key.data(), {batch, count, tokens.shape.kv_heads, tokens.shape.head_dim});
    values = dca::contiguous<const float>(value.data(), {batch, count, tokens.shape.kv_heads, tokens.shape.v_head_dim});
  }
  NewTokens(NewTokens&&) = default;  // a copy would look at another's memory

  /// One wrong size; false where the bytes choose none.
  bool spoil(Bytes& bytes) {
    auto& view = bytes.one_in(2) ? keys : values;
    const auto k = static_cast<int>(bytes.integer(0, 3));
    const Index size = bytes.pick<Index>({-1, 0, 3, Index{1} << 40, std::numeric_limits<Index>::max()});
    if (view.shape[k] == size) return false;
    view.shape[k] = size;
    return true;
  }
};

/// A token, and where it stood when its key was rotated.
struct Placed {
  Index token, position;
};

template <class K, class Placement, class V>
void check_token(const Tokens& tokens, const dca::RowRun<K>& key, const dca::RowRun<V>& value, Index head, Placed at) {
  constexpr bool rotates = !std::is_same_v<Placement, dca::Unplaced>;
  const auto rope = tokens.ropes().reference;
  const auto features = static_cast<std::size_t>(tokens.shape.head_dim);
  auto wanted = tokens.row(at.token, head, true);
  if (rotates)
    wanted = dca_test::reference::rotated(wanted.data(), tokens.shape.head_dim, rope, at.position % chunk_len);
  const bool apart = rotates && tokens.interleaved;
  check_stored<K>(read_row<K>(key, features), reordered(wanted, rope.inv_freq.size(), apart, true),
                  rotates ? 1e-6 : 0.0);
  check_stored<V>(read_row<V>(value, static_cast<std::size_t>(tokens.shape.v_head_dim)),
                  tokens.row(at.token, head, false), 0);
}

/// Summaries against the rows that are there.
template <class View>
void check_summaries(const Tokens& tokens, const View& view, Index sequence, Index length) {
  const Index window = view.summary_block(), features = tokens.shape.head_dim;
  if (window == 0) return;
  using Key = typename View::Key;
  std::vector<double> row(static_cast<std::size_t>(features)), summary(3 * row.size());
  for (Index head = 0; head < tokens.shape.kv_heads; ++head) {
    for (Index first = 0; first < length; first += window) {
      const Index last = std::min(length, first + window);
      view.read_summary(sequence, head, first / window, summary.data());
      std::vector<double> mean(row.size()), least(row.size(), 1e9), largest(row.size(), -1e9);
      for (Index j = first; j < last; ++j) {
        dca::RowStorage<Key>::decode(view.keys(sequence, head, j).row(0), features, row.data());
        for (std::size_t d = 0; d < row.size(); ++d) {
          mean[d] += row[d] / static_cast<double>(last - first);
          least[d] = std::min(least[d], row[d]);
          largest[d] = std::max(largest[d], row[d]);
        }
      }
      for (std::size_t d = 0; d < row.size(); ++d) {
        // Of the last window, when it was truncated, mean and bounds may still hold what stood there.
        require(last < first + window || std::abs(summary[d] - mean[d]) < 1e-5, "the mean of a summary is wrong");
        require(summary[row.size() + d] <= least[d] && summary[2 * row.size() + d] >= largest[d],
                "a key is out of the bounds of its summary");
      }
    }
  }
}

/// All of a sequence as a view gives it.
template <class View>
void check_sequence(const Tokens& tokens, const View& view, Index sequence, const std::vector<Index>& wanted) {
  require(view.length(sequence) == static_cast<Index>(wanted.size()), "a sequence has another length");
  for (Index j = 0; j < view.length(sequence); ++j) {
    for (Index h = 0; h < tokens.shape.kv_heads; ++h) {
      check_token<typename View::Key, typename View::KeyPlacement, typename View::Value>(
          tokens, view.keys(sequence, h, j), view.values(sequence, h, j), h, {wanted[static_cast<std::size_t>(j)], j});
    }
  }
  if constexpr (!std::is_same_v<typename View::KeyPlacement, dca::Unplaced>) {
    check_summaries(tokens, view, sequence, view.length(sequence));
  }
}

/// Calls f with the placement and storages that the bytes choose: f.template operator()<K, Placement, V>().
template <class F>
void with_storage(Bytes& bytes, const F& f) {
  switch (bytes.integer(0, 3)) {
    case 0:
      return f.template operator()<float, dca::ChunkOffset, float>();
    case 1:
      return f.template operator()<dca::Int8, dca::ChunkOffset, Eigen::half>();
    case 2:
      return f.template operator()<dca::Int4, dca::ChunkOffset, Eigen::bfloat16>();
    default:
      return f.template operator()<float, dca::Unplaced, float>();
  }
}

}  // namespace dca_fuzz
