// Attention of few query rows, by streamed products: keys and values where they lie.
#pragma once

#include "dca/kernel/machine/online_softmax.hpp"
#include "dca/kernel/machine/row_tables.hpp"
#include "dca/kernel/plan/choices.hpp"
#include "dca/kernel/tile/pack.hpp"
#include "dca/kernel/tile/row_states.hpp"
#include "dca/kernel/tile/visit_tiles.hpp"

namespace dca::detail {

/// A few query rows of one sequence and kv_head against some of its keys, as the tile loop drives them. Few rows cannot
/// pay for packing: each key is read once, from storage, for all heads of the group and all queries, and so is each
/// value. Keys that must be rotated, features that are not whole packets and storage without a reader pass through a
/// tile of T.
///
/// A pass serves up to 4 rows, softmaxes run along the keys. The bits of a row depend on the queries of its own call
/// and sequence, which decide what shares a pass, and on nothing of other sequences or threads.
template <class T>
class StreamedAttention {
 public:
  /// Hardware starts a stream anew for the keys and for the values of each tile: more than the packed products take.
  static constexpr Index tile_keys = 512;

  /// Takes from `arena` what `rows` rows need; of an arena without memory, only the amount.
  StreamedAttention(const AttentionParams& params, const SourceRef<T>& source, const AttentionCall<T>& call,
                    const BlockChoices& choices, Index rows, Arena& arena)
      : params_(params),
        source_(source),
        call_(call),
        choices_(choices),
        group_(call.heads / source.kv_heads),
        head_dim_(source.head_dim),
        v_head_dim_(source.v_head_dim),
        rotator_(params.rope, arena),
        offset_(source.key_offset, arena) {
    const Index key_width = whole_packets<T>(head_dim_), value_width = whole_packets<T>(v_head_dim_);
    ranges_ = arena.take<KeyRange>(rows);
    queries_ = arena.take<T>(rows * key_width);
    if (may_pack()) {
      packed_bytes_ = source.score->packed_bytes(head_dim_);
      packed_ = arena.take<std::byte>(rows * packed_bytes_);
      is_packed_ = arena.take<bool>(rows);
    }
    scores_ = arena.take<T>(rows_per_pass * score_stride);
    tile_sums_ = arena.take<T>(rows_per_pass * value_width);
    keys_ = arena.take<T>(keys_are_direct() ? 0 : tile_keys * key_width);
    values_ = arena.take<T>(values_are_direct() ? 0 : tile_keys * value_width);
    spare_ = arena.take<T>(head_dim_);
  }

  /// Attention of rows [first_row, last_row) of a sequence and kv_head to the keys in `limit`, through all parts, into
  /// their places in `state`.
  void attend(Index sequence, const QueryTokens& tokens, Index kv_head, Index first_row, Index last_row, KeyRange limit,
              const RowStates<T>& state) {
    sequence_ = sequence;
    tokens_ = tokens;
    kv_head_ = kv_head;
    for (first_row_ = first_row; first_row_ < last_row; first_row_ += rows_) {  // of one choice
      const Index end = tokens.position + tokens.count, edge = choices_.edge_after(sequence, position_of(0));
      rows_ = std::min(last_row, (std::min(edge, end) - tokens.position) * group_) - first_row_;
      const RowStates<T> mine = state.from(first_row_);
      state_ = &mine;
      mine.clear(rows_);
      visit_tiles(*this, params_.composition, limit);
    }
  }

  /// Of the tile loop: queries take their places for a part; the keys that any of them sees.
  KeyRange begin_part(Index part, KeyRange limit) {
    KeyRange all{0, 0};
    for (Index row = 0; row < rows_; ++row) {
      ranges_[row] = intersection(params_.composition.keys(part, position_of(row)), limit);
      all = hull(all, ranges_[row]);
    }
    if (all.empty()) return all;
    const Index width = whole_packets<T>(head_dim_);
    for (Index row = 0; row < rows_; ++row) {
      const Index token = token_of(row);
      T* const place = queries_ + row * width;
      place_query(params_, rotator_, params_.composition.query_position(part, position_of(row)), call_.query_access,
                  call_.query_row(tokens_, token, kv_head_ * group_ + (first_row_ + row) % group_), head_dim_, spare_,
                  place);
      std::fill(place + head_dim_, place + width, T{0});
      if (may_pack()) is_packed_[row] = source_.score->pack(place, head_dim_, packed_ + row * packed_bytes_);
    }
    return all;
  }

  /// Of the tile loop: the rows meet the keys that they see among those of a tile, or what they chose of them.
  void visit_tile(Index part, KeyRange tile, Index) {
    if (choices_.selects(part)) {
      const BlockSet chosen = choices_.set(choices_.choice_of(sequence_, position_of(0)), kv_head_, tile);
      for (KeyRange run = chosen.first_run(tile); !run.empty(); run = chosen.first_run(tile)) {
        visit_run(part, run);
        tile.first = run.last;
      }
    } else {
      visit_run(part, tile);
    }
  }

 private:
  Index token_of(Index row) const { return (first_row_ + row) / group_; }
  Index position_of(Index row) const { return tokens_.position + token_of(row); }

  void visit_run(Index part, KeyRange tile) {
    tile_ = tile;
    part_ = part;
    if (!keys_are_direct()) decode_keys(part);
    if (!values_are_direct()) decode_values();
    // Where rows are converted on their way, a pass of a single row costs most of a full one: passes are of about as
    // many rows each. Otherwise full passes, and a smaller last one, are the faster.
    const bool converts = keys_are_direct() && source_.key.decode != nullptr;
    for (Index passes = ceil_div(rows_, rows_per_pass), row = 0; passes > 0; --passes) {
      const Index rows = converts ? ceil_div(rows_ - row, passes) : std::min<Index>(rows_per_pass, rows_ - row);
      visit(row, rows);
      row += rows;
    }
  }

  static constexpr Index score_stride = tile_keys + 64 / static_cast<Index>(sizeof(T));

  bool keys_are_direct() const { return source_.score != nullptr; }
  bool may_pack() const {
    return keys_are_direct() && source_.score->pack != nullptr && head_dim_ % source_.score->step == 0;
  }
  bool values_are_direct() const { return source_.add != nullptr; }

  auto keys_in_storage() const {
    return [this](Index key) { return source_.keys(sequence_, kv_head_, key); };
  }
  auto values_in_storage() const {
    return [this](Index key) { return source_.values(sequence_, kv_head_, key); };
  }

  /// Keys of the tile in whole packets of T, placed by a part where they are not yet.
  void decode_keys(Index part) {
    const KeyPlacer<T> place_key{params_, source_, rotator_, offset_, spare_};
    decode_tile(head_dim_, source_.key, keys_in_storage(), keys_,
                [&](ByteRow row, Index key, T* place) { place_key(part, kv_head_, row, key, place); });
  }

  void decode_values() {
    decode_tile(v_head_dim_, source_.value, values_in_storage(), values_,
                [&](ByteRow row, Index, T* place) { decode_to(source_.value, row, v_head_dim_, place); });
  }

  template <class RunAt, class Decode>
  void decode_tile(Index features, const RowAccess<T>& access, const RunAt& run_at, T* tile, const Decode& decode) {
    const Index width = whole_packets<T>(features);
    for_each_row(tile_.first, tile_.last, access, run_at, [&](ByteRow row, Index key) {
      T* const place = tile + (key - tile_.first) * width;
      decode(row, key, place);
      std::fill(place + features, place + width, T{0});
    });
  }

  /// Calls f(stream, its first key) for the rows of `keys`, in streams as long as memory allows: those of a tile that
  /// has passed through `decoded`, or, where that is null, those that lie in storage.
  template <class F>
  void for_each_stream(KeyRange keys, const T* decoded, Index width, Index side_tokens,
                       FunctionRef<ByteRows(Index)> stored, F&& f) const {
    if (decoded != nullptr) {
      const T* const data = decoded + (keys.first - tile_.first) * width;
      const auto* const bytes = reinterpret_cast<const std::byte*>(data);
      f(RowStream({bytes, width * static_cast<Index>(sizeof(T)), keys.last - keys.first}, bytes), keys.first);
      return;
    }
    const Index limit = source_.length(sequence_);
    for (Index first = keys.first; first < keys.last;) {
      ByteRows run = stored(first);
      const std::byte* next = run.data;  // at the end of all any row will do
      while (first + run.count < limit) {
        const ByteRows more = stored(first + run.count);
        next = more.data;
        if (first + run.count >= keys.last || !run.continued_by(more, side_tokens)) break;
        run.count += more.count;
      }
      if (const Index count = keys.last - first; count < run.count) {
        next = run.data + count * run.stride;
        run.count = count;
      }
      f(RowStream(run, next), first);
      first += run.count;
    }
  }

  /// Rows [row, row + rows) meet their keys of the tile.
  void visit(Index row, Index rows) {
    KeyRange seen[rows_per_pass], any{0, 0}, all = tile_;
    for (Index r = 0; r < rows; ++r) {
      seen[r] = intersection(ranges_[row + r], tile_);
      any = hull(any, seen[r]);
      all = intersection(all, seen[r]);
    }
    if (any.empty()) return;
    const Index origin = any.first;
    score(row, rows, any);
    const SoftCap<T> cap(params_.logit_softcap);
    T factor[rows_per_pass]{};
    for (Index r = 0; r < rows; ++r) {
      if (seen[r].empty()) continue;
      T* const weights = scores_ + r * score_stride;
      factor[r] = softmax_row<T>(weights, seen[r].first - origin, seen[r].last - origin, cap, *state_, row + r);
    }
    const Index width = state_->width;
    std::fill_n(tile_sums_, rows * width, T{0});
    if (all.empty()) all = {any.first, any.first};
    // A key that a row does not see must not reach it, not even times 0: only what all see is added for all at once.
    for (Index r = 0; r < rows; ++r) weigh(r, 1, {seen[r].first, std::min(seen[r].last, all.first)}, origin);
    weigh(0, rows, all, origin);
    for (Index r = 0; r < rows; ++r) weigh(r, 1, {std::max(seen[r].first, all.last), seen[r].last}, origin);
    for (Index r = 0; r < rows; ++r) {
      if (seen[r].empty()) continue;
      T* const sums = state_->sums + (row + r) * width;
      for (Index d = 0; d < width; d += packet_size<T>) {
        ei::pstoreu(sums + d,
                    ei::pmadd(ei::ploadu<Packet<T>>(sums + d), broadcast(factor[r]), load(tile_sums_ + r * width + d)));
      }
    }
  }

  /// Logits of `keys`, from the start of scores_.
  void score(Index row, Index rows, KeyRange keys) {
    const Index width = whole_packets<T>(head_dim_);
    const ScoreFunctions<T>& functions = keys_are_direct() ? *source_.score : score_table<T, T>;
    const bool packed =
        may_pack() && std::all_of(is_packed_ + row, is_packed_ + row + rows, [](bool is) { return is; });
    const auto* const queries =
        packed ? packed_ + row * packed_bytes_ : reinterpret_cast<const std::byte*>(queries_ + row * width);
    const ScoreRows<T> score_keys =
        (packed ? functions.of_packed : functions.of_numbers)[static_cast<std::size_t>(rows - 1)];
    for_each_stream(keys, keys_are_direct() ? nullptr : keys_, width, source_.key.side_tokens, keys_in_storage(),
                    [&](const RowStream& stream, Index first) {
                      score_keys(stream, width, queries, scores_ + (first - keys.first), score_stride);
                    });
    if (keys_are_direct() && source_.key_offset != nullptr) add_offset(row, rows, keys);
  }

  /// Adds what the cache's offset makes of the logits of `keys`, which were read without it.
  void add_offset(Index row, Index rows, KeyRange keys) {
    const TurnedVector<T>& offset = offset_.of(kv_head_);
    if (offset.count == 0) return;
    const Index width = whole_packets<T>(head_dim_);
    for (Index key = keys.first; key < keys.last;) {
      const Index position = params_.composition.key_position(part_, key);
      const Index count = std::min(keys.last - key, params_.composition.key_run(part_, key));
      for (Index r = 0; r < rows; ++r) {
        add_turned_products(offset, position, count, queries_ + (row + r) * width, offset_.turns(),
                            scores_ + r * score_stride + (key - keys.first));
      }
      key += count;
    }
  }

  /// Adds the values of `keys` to the tile's sums of `rows` rows at work, from row `row` of them on; weights begin with
  /// key `origin`. Sums of a tile are rounded as small numbers: errors grow with the number of tiles and not with that
  /// of keys.
  void weigh(Index row, Index rows, KeyRange keys, Index origin) {
    if (keys.empty()) return;
    const Index width = state_->width;
    const auto& functions = values_are_direct() ? *source_.add : add_table<T, T>;
    const AddValues<T> add = functions[static_cast<std::size_t>(rows - 1)];
    for_each_stream(keys, values_are_direct() ? nullptr : values_, width, source_.value.side_tokens,
                    values_in_storage(), [&](const RowStream& stream, Index first) {
                      add(stream, width, scores_ + row * score_stride + (first - origin), score_stride,
                          tile_sums_ + row * width);
                    });
  }

  const AttentionParams& params_;
  const SourceRef<T>& source_;
  const AttentionCall<T>& call_;
  const BlockChoices& choices_;
  Index group_;
  Index head_dim_, v_head_dim_;
  RowRotator<T> rotator_;
  OffsetTurner<T> offset_;
  KeyRange* ranges_;             // per row, of the current part
  T* queries_;                   // [rows][head_dim in whole packets]
  std::byte* packed_ = nullptr;  // the same as products read them, where there is a way
  bool* is_packed_ = nullptr;
  Index packed_bytes_ = 0;  // of a row
  T* tile_sums_;            // of the rows at work: [rows_per_pass][v_head_dim in whole packets]
  T* scores_;               // of the rows at work: [rows_per_pass][score_stride]
  T *keys_, *values_;       // of the tile, where they are not read from storage: [tile_keys][features in whole packets]
  T* spare_;                // a row on its way
  KeyRange tile_{0, 0};
  Index part_ = 0;  // that visits it
  Index sequence_ = 0, kv_head_ = 0, first_row_ = 0, rows_ = 0;
  QueryTokens tokens_{};
  const RowStates<T>* state_ = nullptr;
};

}  // namespace dca::detail
