// Appending to caches: keys are rotated, then keys and values are stored.
#pragma once

#include <optional>

#include "dca/device/workers.hpp"
#include "dca/kv/cache_shape.hpp"
#include "dca/kv/key_offset.hpp"
#include "dca/kv/placed_keys.hpp"
#include "dca/kv/row_functions.hpp"
#include "dca/rope/row_rotator.hpp"
#include "dca/tensor/checks.hpp"

namespace dca::detail {

/// Keys rotate in float, unless they are stored as double.
template <class E>
using CacheScalar = std::conditional_t<std::is_same_v<E, double>, double, float>;

/// multiples: what the storages of keys and of values want.
inline void check_cache_shape(const CacheShape& shape, Index key_multiple, Index value_multiple) {
  check_size("kv_heads", shape.kv_heads, 1);
  check_size("head_dim", shape.head_dim, 1);
  check_size("v_head_dim", shape.v_head_dim, 1);
  check_size("summary_block", shape.summary_block, 0);
  const auto check_multiple = [](const char* name, Index size, Index multiple) {
    if (size % multiple != 0) {
      fail(name, to_text(size), Text("must be a multiple of ") + to_text(multiple) + " for its storage");
    }
  };
  check_multiple("head_dim", shape.head_dim, key_multiple);
  check_multiple("v_head_dim", shape.v_head_dim, value_multiple);
}

/// New tokens' keys [length, kv_heads, head_dim] and values [length, kv_heads, v_head_dim], or of rank 4 with a batch
/// of `sequences`: checked, with the batch in front.
struct NewTokens {
  AnyTensor key, value;

  NewTokens(const AnyTensor& k, const AnyTensor& v, Index sequences, const CacheShape& shape)
      : key(checked_view("key", k, 4, true)), value(checked_view("value", v, 4, true)) {
    check_equal("key", "batch", key.shape[0], "the cache's sequences", sequences);
    check_equal("value", "batch", value.shape[0], "the cache's sequences", sequences);
    check_equal("value", "length", value.shape[1], "key", key.shape[1]);
    check_equal("key", "kv_heads", key.shape[2], "the cache", shape.kv_heads);
    check_equal("value", "kv_heads", value.shape[2], "the cache", shape.kv_heads);
    check_equal("key", "head_dim", key.shape[3], "the cache", shape.head_dim);
    check_equal("value", "v_head_dim", value.shape[3], "the cache", shape.v_head_dim);
  }

  Index count() const { return key.shape[1]; }
};

/// Turns the features at x, of a number type, to a position.
template <class Scalar>
using PlaceKey = void (*)(RowRotator<Scalar>& rotate, Index position, const void* x, Index features, Scalar* y);

template <class Scalar, class X>
constexpr PlaceKey<Scalar> place_key_of() {
  return [](RowRotator<Scalar>& rotate, Index position, const void* x, Index features, Scalar* y) {
    rotate(position, static_cast<const X*>(x), features, y);
  };
}

/// How new tokens become rows. A key is placed, then encoded from Scalar; where `place` is null, it is encoded as it
/// comes. Where there is an offset, a key is decoded to Scalar before (by nothing where it is one), and encoded from
/// it.
template <class Scalar>
struct TokenFunctions {
  PlaceKey<Scalar> place;
  EncodeRow encode_key;
  EncodeRow encode_value;
  DecodeRow<Scalar> decode_key;
};

/// Stores one token of all kv_heads; has the scratch memory that one thread needs for it.
template <class Scalar>
class TokenStore {
 public:
  /// encode_scalar: of keys, from Scalar. `offset` may be null.
  TokenStore(const PlacementRef& placed, const CacheShape& shape, const TokenFunctions<Scalar>& functions,
             EncodeRow encode_scalar, const KeyOffset* offset, Arena& arena)
      : placed_(placed), shape_(shape), functions_(functions), encode_scalar_(encode_scalar), offset_(offset) {
    if (offset != nullptr) shifted_ = arena.take<Scalar>(shape.head_dim);
    if (placed.rope == nullptr) return;
    rotate_.emplace(*placed.rope, arena);
    row_ = arena.take<Scalar>(shape.head_dim);
  }

  /// Bytes of scratch memory that one thread needs.
  static Index bytes(const PlacementRef& placed, const CacheShape& shape, const KeyOffset* offset) {
    Arena counter;
    const TokenStore counted(placed, shape, {}, nullptr, offset, counter);
    return counter.used();
  }

  /// The token at `position`, of one kv_head.
  void operator()(Index position, Index kv_head, const std::byte* key, const std::byte* value,
                  const BytePlace& key_place, const BytePlace& value_place) {
    if (offset_ != nullptr) {
      shift(kv_head, key);
      const Scalar* row = shifted_;
      if (rotate_) {
        (*rotate_)(placed_.position(placed_.layout, position), shifted_, shape_.head_dim, row_);
        row = row_;
      }
      encode_scalar_(row, shape_.head_dim, key_place);
    } else if (rotate_) {
      functions_.place(*rotate_, placed_.position(placed_.layout, position), key, shape_.head_dim, row_);
      functions_.encode_key(row_, shape_.head_dim, key_place);
    } else {
      functions_.encode_key(key, shape_.head_dim, key_place);
    }
    functions_.encode_value(value, shape_.v_head_dim, value_place);
  }

 private:
  /// The key less the offset.
  void shift(Index kv_head, const std::byte* key) {
    const auto* x = reinterpret_cast<const Scalar*>(key);
    if (functions_.decode_key != nullptr) {
      functions_.decode_key(ByteRow{key}, shape_.head_dim, shifted_);
      x = shifted_;
    }
    const Scalar* const offset = offset_->row<Scalar>(kv_head);
    for (Index d = 0; d < shape_.head_dim; ++d) shifted_[d] = x[d] - offset[d];
  }

  const PlacementRef& placed_;
  const CacheShape& shape_;
  TokenFunctions<Scalar> functions_;
  EncodeRow encode_scalar_;
  const KeyOffset* offset_;
  Scalar* shifted_ = nullptr;
  std::optional<RowRotator<Scalar>> rotate_;
  Scalar* row_ = nullptr;
};

}  // namespace dca::detail
