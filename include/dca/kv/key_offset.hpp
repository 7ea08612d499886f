// What is taken off keys before they are stored: numbers of 8 bits and fewer keep little of keys that a bias dominates.
#pragma once

#include <memory>
#include <vector>

#include "dca/device/scratch.hpp"
#include "dca/instruction_set/kernel_table.hpp"
#include "dca/kv/byte_rows.hpp"
#include "dca/kv/cache_shape.hpp"
#include "dca/kv/feature_pairs.hpp"
#include "dca/packet/turned_vector.hpp"
#include "dca/tensor/checks.hpp"

namespace dca::detail {

/// A vector for each kv_head that a cache takes off its keys, and that is added, turned to where they are placed, when
/// they are read. Fixed once made.
class KeyOffset {
 public:
  /// `rows` [kv_heads][head_dim] in the order of the model's features. rope: that of placed keys, or null. Throws
  /// std::bad_alloc.
  KeyOffset(std::vector<double> rows, Index kv_heads, const RotaryEmbedding* rope)
      : rows_(std::move(rows)), head_dim_(static_cast<Index>(rows_.size()) / kv_heads) {
    in_float_.rows.assign(rows_.begin(), rows_.end());
    in_double_.rows = rows_;
    if (rope == nullptr) return;
    for (Index head = 0; head < kv_heads; ++head) {
      heads_.push_back(pairs_of(rows_.data() + head * head_dim_, *rope));
      most_pairs_ = std::max(most_pairs_, static_cast<Index>(heads_.back().first.size()));
    }
    for (Head& head : heads_) {
      in_float_.add(head);
      in_double_.add(head);
    }
  }
  // The vectors refer to memory of its own.
  KeyOffset(const KeyOffset&) = delete;
  KeyOffset& operator=(const KeyOffset&) = delete;

  /// In the order of the model's features.
  template <class T>
  const T* row(Index kv_head) const {
    return in<T>().rows.data() + kv_head * head_dim_;
  }
  /// As rows of placed keys have it.
  template <class T>
  const TurnedVector<T>& turned(Index kv_head) const {
    return in<T>().vectors[static_cast<std::size_t>(kv_head)];
  }
  /// The most that a vector has, in whole packets.
  Index most_pairs() const { return most_pairs_; }

  bool same_rows(const KeyOffset& other) const { return rows_ == other.rows_; }

 private:
  /// The pairs of a head that are not zero, padded.
  struct Head {
    Index count = 0;
    std::vector<Index> first_feature, second_feature;
    std::vector<double> first, second, frequency;
  };

  template <class T>
  struct Tables {
    std::vector<T> rows;
    std::vector<TurnedVector<T>> vectors;  // by kv_head
    std::vector<std::vector<T, LineAllocator<T>>> memory;

    void add(const Head& head) {
      using V = TurnedVector<T>;
      const Index padded = static_cast<Index>(head.first.size()), entries = V::group + V::groups;
      auto& numbers = memory.emplace_back(static_cast<std::size_t>(padded + 3 * entries * (padded + head.count)));
      T* const frequency = numbers.data();
      T* const near = frequency + padded;
      T* const far = near + 3 * V::group * padded;
      T* const near_of_pairs = far + 3 * V::groups * padded;
      T* const far_of_pairs = near_of_pairs + 3 * V::group * head.count;
      for (Index m = 0; m < padded; ++m) {
        const double of_pair = head.frequency[static_cast<std::size_t>(m)];
        frequency[m] = static_cast<T>(of_pair);
        const auto set = [&](Index position, Index entry, Index count, T* by_entry, T* by_pair) {
          const double angle = static_cast<double>(position) * of_pair;
          const double turn[3] = {std::cos(angle), std::sin(angle), angle};
          for (Index k = 0; k < 3; ++k) {
            by_entry[(3 * entry + k) * padded + m] = static_cast<T>(turn[k]);
            if (m < head.count) by_pair[(3 * m + k) * count + entry] = static_cast<T>(turn[k]);
          }
        };
        for (Index k = 0; k < V::group; ++k) set(k, k, V::group, near, near_of_pairs);
        for (Index k = 0; k < V::groups; ++k) set(k * V::group, k, V::groups, far, far_of_pairs);
      }
      vectors.push_back({head.count, padded, head.first_feature.data(), head.second_feature.data(), head.first.data(),
                         head.second.data(), frequency, near, far, near_of_pairs, far_of_pairs});
    }
  };

  template <class T>
  const Tables<T>& in() const {
    if constexpr (std::is_same_v<T, float>) {
      return in_float_;
    } else {
      return in_double_;
    }
  }

  Head pairs_of(const double* row, const RotaryEmbedding& rope) const {
    Head head;
    for (const FeaturePair& pair : feature_pairs(rope, head_dim_)) {
      const double first = row[pair.first], second = pair.second == pair.first ? 0.0 : row[pair.second];
      if (first == 0 && second == 0) continue;
      ++head.count;
      head.first_feature.push_back(pair.first_placed);
      head.second_feature.push_back(pair.second_placed);
      head.first.push_back(first);
      head.second.push_back(second);
      head.frequency.push_back(pair.frequency);
    }
    const auto padded = static_cast<std::size_t>(round_up(head.count, TurnedVector<float>::multiple));
    head.first.resize(padded);
    head.second.resize(padded);
    head.frequency.resize(padded);
    return head;
  }

  std::vector<double> rows_;
  Index head_dim_;
  Index most_pairs_ = 0;
  std::vector<Head> heads_;
  Tables<float> in_float_;
  Tables<double> in_double_;
};

/// Of numbers [kv_heads, head_dim] that `decode` makes Scalars (null: they are). Throws std::invalid_argument where the
/// shape is another, or a number is not finite, std::bad_alloc without memory.
template <class Scalar>
std::shared_ptr<const KeyOffset> make_key_offset(const AnyTensor& x, DecodeRow<Scalar> decode, const CacheShape& shape,
                                                 const RotaryEmbedding* rope) {
  const Index head_dim = shape.head_dim;
  if (x.shape.rank() != 2 || x.strides.rank() != 2) {
    fail("key_offset", "rank " + to_text(x.shape.rank()), "must be 2: [kv_heads, head_dim]");
  }
  checked_shape("key_offset", x.data, x.shape, x.strides, x.size, 2, true);
  check_equal("key_offset", "kv_heads", x.shape[0], "the cache", shape.kv_heads);
  check_equal("key_offset", "head_dim", x.shape[1], "the cache", head_dim);
  std::vector<Scalar> rows(static_cast<std::size_t>(shape.kv_heads * head_dim));
  for (Index head = 0; head < shape.kv_heads; ++head) {
    const ByteRow row{x.data + head * x.strides[0] * x.size};
    Scalar* const to = rows.data() + head * head_dim;
    if (decode == nullptr) {
      std::copy_n(reinterpret_cast<const Scalar*>(row.data), head_dim, to);
    } else {
      decode(row, head_dim, to);
    }
  }
  for (const Scalar number : rows) {
    if (!std::isfinite(number)) fail("key_offset", to_text(static_cast<double>(number)), "must be finite");
  }
  return std::make_shared<const KeyOffset>(std::vector<double>(rows.begin(), rows.end()), shape.kv_heads, rope);
}

/// Adds the offset of a kv_head, turned to a position, to rows of placed keys. What one thread needs for it.
template <class T>
class OffsetTurner {
 public:
  /// `offset` may be null for one that is never used.
  OffsetTurner(const KeyOffset* offset, Arena& arena) : offset_(offset) {
    if (offset == nullptr) return;
    turns_.doubles = arena.take<double>(TurnsOfBlocks<T>::kept * 2 * offset->most_pairs());
    turns_.numbers = arena.take<T>(TurnsOfBlocks<T>::kept * 3 * offset->most_pairs());
  }

  void add(Index kv_head, Index position, T* row) {
    const TurnedVector<T>& x = of(kv_head);
    if (x.count == 0) return;
#if defined(DCA_COMPILED_KERNELS)
    kernels_of<T>().add_turned(x, position, turns_, row);
#else
    add_turned(x, position, turns_, row);
#endif
  }

  /// The vector of a kv_head, with `turns` for it.
  const TurnedVector<T>& of(Index kv_head) {
    if (kv_head != kv_head_) {
      kv_head_ = kv_head;
      turns_.clear();
    }
    return offset_->turned<T>(kv_head);
  }
  TurnsOfBlocks<T>& turns() { return turns_; }

 private:
  const KeyOffset* offset_;
  TurnsOfBlocks<T> turns_{};
  Index kv_head_ = -1;
};

}  // namespace dca::detail
