// Appending to caches: keys are rotated, then keys and values are stored.
#pragma once

#include "dca/device/workers.hpp"
#include "dca/kv/key_value_source.hpp"
#include "dca/kv/placed_keys.hpp"
#include "dca/rope/row_rotator.hpp"
#include "dca/tensor/checks.hpp"

namespace dca {

/// Sizes of what a cache holds for a token. With a summary_block it also keeps a summary of every summary_block keys,
/// for policies that rank blocks.
struct CacheShape {
  Index kv_heads = 0;  // required, as are the next two: at least 1
  Index head_dim = 0;
  Index v_head_dim = 0;
  Index summary_block = 0;  // keys of a block; 0: no summaries
};

namespace detail {

/// Keys rotate in float, unless they are stored as double.
template <class E>
using CacheScalar = std::conditional_t<std::is_same_v<E, double>, double, float>;

template <class K, class V>
void check_cache_shape(const CacheShape& shape) {
  check_size("kv_heads", shape.kv_heads, 1);
  check_size("head_dim", shape.head_dim, 1);
  check_size("v_head_dim", shape.v_head_dim, 1);
  check_size("summary_block", shape.summary_block, 0);
  const auto check_multiple = [](const char* name, Index size, Index multiple) {
    if (size % multiple != 0) {
      fail(name, to_text(size), Text("must be a multiple of ") + to_text(multiple) + " for its storage");
    }
  };
  check_multiple("head_dim", shape.head_dim, RowStorage<K>::multiple);
  check_multiple("v_head_dim", shape.v_head_dim, RowStorage<V>::multiple);
}

template <class Placement>
void check_rotary_dim(const PlacedKeys<Placement>& placed, Index head_dim) {
  if constexpr (!std::is_same_v<Placement, Unplaced>) {
    if (placed.rope.rotary_dim() > head_dim) {
      fail("rotary_dim", to_text(placed.rope.rotary_dim()), "must be at most head_dim, " + to_text(head_dim));
    }
  }
}

/// New tokens' keys [length, kv_heads, head_dim] and values [length, kv_heads, v_head_dim], checked; of rank 4 with a
/// batch of `sequences`.
template <class X, class Y>
struct NewRows {
  TensorView<const X> key;
  TensorView<const Y> value;

  NewRows(TensorView<const X> k, TensorView<const Y> v, Index sequences, const CacheShape& shape)
      : key(checked_view("key", k, 4, true)), value(checked_view("value", v, 4, true)) {
    check_equal("key", "batch", key.shape[0], "the cache's sequences", sequences);
    check_equal("value", "batch", value.shape[0], "the cache's sequences", sequences);
    check_equal("value", "length", value.shape[1], "key", key.shape[1]);
    check_equal("key", "kv_heads", key.shape[2], "the cache", shape.kv_heads);
    check_equal("value", "kv_heads", value.shape[2], "the cache", shape.kv_heads);
    check_equal("key", "head_dim", key.shape[3], "the cache", shape.head_dim);
    check_equal("value", "v_head_dim", value.shape[3], "the cache", shape.v_head_dim);
  }
};

/// Where the rows of one token and kv_head go.
template <class K, class V>
struct TokenPlace {
  RowPlace<K> key;
  RowPlace<V> value;
};

/// Stores one token of all kv_heads; has the scratch memory that one thread needs for it.
template <class K, class V, class Placement>
class TokenStore {
 public:
  using Scalar = CacheScalar<K>;

  TokenStore(const PlacedKeys<Placement>& placed, const CacheShape& shape, Arena& arena)
      : placed_(placed), shape_(shape), rotate_(make(placed, arena)), row_(arena.take<Scalar>(shape.head_dim)) {}

  /// Bytes of scratch memory that one thread needs.
  static Index bytes(const PlacedKeys<Placement>& placed, const CacheShape& shape) {
    Arena counter;
    const TokenStore counted(placed, shape, counter);
    return counter.used();
  }

  /// Row r of batch b of `rows`, as the token at `position`; place(kv_head) says where to.
  template <class Rows, class Place>
  void operator()(const Rows& rows, Index b, Index r, Index position, const Place& place) {
    for (Index head = 0; head < shape_.kv_heads; ++head) {
      const auto at = [&](const auto& x) { return x.data + b * x.strides[0] + r * x.strides[1] + head * x.strides[2]; };
      const TokenPlace<K, V> to = place(head);
      if constexpr (std::is_same_v<Placement, Unplaced>) {
        RowStorage<K>::encode(at(rows.key), shape_.head_dim, to.key);
      } else {
        rotate_(placed_.position(position), at(rows.key), shape_.head_dim, row_);
        RowStorage<K>::encode(row_, shape_.head_dim, to.key);
      }
      RowStorage<V>::encode(at(rows.value), shape_.v_head_dim, to.value);
    }
  }

 private:
  struct Nothing {};
  using Rotator = std::conditional_t<std::is_same_v<Placement, Unplaced>, Nothing, RowRotator<Scalar>>;

  static Rotator make(const PlacedKeys<Placement>& placed, Arena& arena) {
    if constexpr (std::is_same_v<Placement, Unplaced>) {
      return {};
    } else {
      return Rotator(placed.rope, arena);
    }
  }

  const PlacedKeys<Placement>& placed_;
  const CacheShape& shape_;
  Rotator rotate_;
  Scalar* row_;
};

/// Stores all rows of batch b of `rows` as the tokens from `first_position` on. place(position, kv_head) says where to,
/// begins_sides(position) whether the sides of keys and of values begin with that token: those of a side are stored by
/// one thread.
template <class K, class V, class Placement, class Rows, class Place, class BeginsSides>
void store_tokens(const DeviceRef& device, Workspace& workspace, const PlacedKeys<Placement>& placed,
                  const CacheShape& shape, const Rows& rows, Index b, Index first_position, const Place& place,
                  const BeginsSides& begins_sides) {
  using Store = TokenStore<K, V, Placement>;
  constexpr Index rows_per_task = 32;
  const Index count = rows.key.shape[1];
  const Index tasks = ceil_div(count, rows_per_task), workers = worker_count(device, tasks);
  const Index bytes = Store::bytes(placed, shape);
  const auto first_row = [&](Index task) {
    Index r = std::min(task * rows_per_task, count);
    while (task > 0 && r < count && !begins_sides(first_position + r)) ++r;
    return r;
  };
  Scratch scratch(device, &workspace, workers * bytes);
  run_tasks(device, scratch.helpers(), workers, tasks, [&](Index worker, Index task) {
    Arena arena(scratch.data() + worker * bytes);
    Store store(placed, shape, arena);
    const Index end = first_row(task + 1);
    for (Index r = first_row(task); r < end; ++r) {
      const Index position = first_position + r;
      store(rows, b, r, position, [&](Index head) { return place(position, head); });
    }
  });
}

}  // namespace detail
}  // namespace dca
