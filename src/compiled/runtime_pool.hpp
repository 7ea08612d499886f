// A pool of blocks whose storages and placement are known when the program runs.
#pragma once

#include <memory>

#include "dtypes.hpp"

namespace dca::compiled {

/// Where an operator's caches rotate keys to.
struct Placement {
  RotaryEmbedding rope;
  std::optional<ChunkLayout> chunks;  // where the layout is the library's
  const void* layout;                 // of chunks, of the caller's, or null
  Index (*position)(const void* layout, Index j);
};

/// What a pool is made with. No placement: keys are held unplaced.
struct Placed {
  std::shared_ptr<const Placement> keys;
  DType key, value;

  detail::PlacementRef ref() const {
    if (keys == nullptr) return {};
    return {&keys->rope, keys->chunks ? &*keys->chunks : keys->layout, keys->position};
  }
};

/// Throws std::invalid_argument unless keys were placed as `owner` places them.
inline void check_placed(const char* argument, const std::shared_ptr<const Placement>& given,
                         const std::shared_ptr<const Placement>& wanted, const char* owner) {
  if (given == wanted) return;
  if (given == nullptr || wanted == nullptr) {
    detail::fail(argument, given == nullptr ? "holds keys unplaced" : "holds placed keys",
                 detail::Text("must hold them as ") + owner + " does");
  }
  const bool same_layout = given->chunks && wanted->chunks ? *given->chunks == *wanted->chunks
                                                           : given->chunks.has_value() == wanted->chunks.has_value() &&
                                                                 given->layout == wanted->layout;
  if (given->position != wanted->position || !same_layout) {
    detail::fail(argument, "made for another chunk layout", detail::Text("must be that of ") + owner);
  }
  if (given->rope.inv_freq() != wanted->rope.inv_freq() || given->rope.pairing() != wanted->rope.pairing()) {
    detail::fail(argument, "made for another rotary embedding",
                 detail::Text("inverse frequencies and pairing must be those of ") + owner);
  }
}

/// As dca::BlockPool, and as such the pool of dca::CacheOf and dca::PagedCacheOf. Scalar is double where keys are
/// stored as float64.
template <class Scalar>
class RuntimePool : private detail::PoolCore<Scalar> {
  using Core = detail::PoolCore<Scalar>;

 public:
  // What PagedKeyValues names; the rows are bytes.
  using Key = std::byte;
  using Value = std::byte;
  using KeyPlacement = Unplaced;

  RuntimePool(Placed placed, CacheShape sizes, Index block_count, Index tokens_per_block)
      : Core(placed.ref(), sizes, stored_as("key", placed.key), stored_as("value", placed.value), block_count,
             tokens_per_block),
        placed_(std::move(placed)) {}

  using Core::block_size;
  using Core::blocks;
  using Core::bytes;
  using Core::check_readable;
  using Core::free_blocks;
  using Core::give_back;
  using Core::key_offset;
  using Core::keys;
  using Core::read_summary;
  using Core::shape;
  using Core::share;
  using Core::take;
  using Core::users;
  using Core::values;

  void set_key_offset(const ConstTensor& offset) {
    Core::set_key_offset(placed_.ref(), any_tensor("key_offset", offset), decoder("key_offset", offset.dtype));
  }
  void share_key_offset(const RuntimePool& other) { Core::share_key_offset(other); }

  void append(const detail::DeviceRef& device, std::span<const BlockTable> tables, const ConstTensor& key,
              const ConstTensor& value) {
    detail::TokenFunctions<Scalar> functions{};
    const bool places = placed_.keys != nullptr;
    visit_number("key", key.dtype, [&]<class X>(std::type_identity<X>) {
      if (places) functions.place = detail::place_key_of<Scalar, X>();
    });
    functions.encode_key = encoder("key", places ? DTypeOf<Scalar>::value : key.dtype, placed_.key);
    functions.encode_value = encoder("value", value.dtype, placed_.value);
    functions.decode_key = decoder("key", key.dtype);
    const detail::NewTokens tokens(any_tensor("key", key), any_tensor("value", value),
                                   static_cast<Index>(tables.size()), shape());
    Core::append(device, placed_.ref(), functions, tables, tokens);
  }

  Index check_tokens(const ConstTensor& key, const ConstTensor& value, Index sequences) const {
    return detail::NewTokens(any_tensor("key", key), any_tensor("value", value), sequences, shape()).count();
  }

  void copy_tokens(Index from, Index to, Index tokens) { copy_tokens_from(*this, from, to, tokens); }

  void copy_tokens_from(const RuntimePool& other, Index from, Index to, Index tokens) {
    if (&other != this) {
      Core::check_alike(other);
      compiled::check_placed("other", other.placed_.keys, placed_.keys, "this pool");
      if (other.placed_.key != placed_.key || other.placed_.value != placed_.value) {
        detail::fail(
            "other", detail::Text(name_of(other.placed_.key)) + " and " + name_of(other.placed_.value),
            detail::Text("must be this pool's storages, ") + name_of(placed_.key) + " and " + name_of(placed_.value));
      }
    }
    Core::copy_tokens_from(other, from, to, tokens);
  }

  const Placed& placement() const { return placed_; }

 private:
  static detail::StoredAs<Scalar> stored_as(const char* argument, DType dtype) {
    return visit_storage(argument, dtype,
                         []<class E>(std::type_identity<E>) { return detail::stored_as<Scalar, E>(); });
  }

  static detail::EncodeRow encoder(const char* argument, DType from, DType to) {
    return visit_number(argument, from, [&]<class X>(std::type_identity<X>) {
      return visit_storage(argument, to,
                           []<class E>(std::type_identity<E>) { return detail::encode_function<X, E>(); });
    });
  }

  static detail::DecodeRow<Scalar> decoder(const char* argument, DType from) {
    return visit_number(argument, from,
                        []<class X>(std::type_identity<X>) { return detail::decode_function<Scalar, X>(); });
  }

  Placed placed_;
};

}  // namespace dca::compiled
