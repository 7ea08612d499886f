// Pools of blocks under tables of the caller's: negative, huge, shared, repeated and free blocks among them.
#include "fuzz/cache_model.hpp"
#include "fuzz/cache_targets.hpp"

namespace dca_fuzz {
namespace {

/// Tables with memory of their own.
struct Tables {
  std::vector<std::vector<Index>> blocks;
  std::vector<dca::BlockTable> tables{};
};

/// What a call may do: it must be refused, must not be, or the contract leaves it open.
enum class Verdict { refused, right, open };

/// A pool beside what is known of it: the users of each block, and what stands in its slots.
template <class K, class Placement, class V>
struct KnownPool {
  using Pool = dca::BlockPool<K, Placement, V>;
  Tokens tokens;
  Index block_size;
  Pool pool;
  std::vector<int> users;
  std::vector<std::vector<std::optional<Placed>>> slots;

  KnownPool(const Tokens& t, Index blocks, Index size)
      : tokens(t),
        block_size(size),
        pool(t.placed<Placement>(), t.shape, blocks, size),
        users(static_cast<std::size_t>(blocks), 0),
        slots(users.size(), std::vector<std::optional<Placed>>(static_cast<std::size_t>(size))) {}

  Index count() const { return static_cast<Index>(users.size()); }
  bool exists(Index block) const { return block >= 0 && block < count(); }
  bool in_use(Index block) const { return exists(block) && users[static_cast<std::size_t>(block)] > 0; }
  std::optional<Placed>& slot(Index block, Index k) {
    return slots[static_cast<std::size_t>(block)][static_cast<std::size_t>(k)];
  }

  Index any_block(Bytes& bytes) const {
    if (!bytes.one_in(10)) return bytes.integer(0, std::max<Index>(count() - 1, 0));
    return bytes.pick<Index>(
        {-1, count(), -7, 1000000, std::numeric_limits<Index>::min(), std::numeric_limits<Index>::max()});
  }

  Tables any_tables(Bytes& bytes) const {
    Tables all;
    for (Index k = bytes.integer(1, 3); k > 0; --k) {
      all.blocks.emplace_back();
      for (Index b = bytes.integer(0, 4); b > 0; --b) all.blocks.back().push_back(any_block(bytes));
      const Index room = static_cast<Index>(all.blocks.back().size()) * block_size;
      Index length = bytes.integer(0, room);
      if (bytes.one_in(16))
        length =
            bytes.pick<Index>({-1, room + 1, std::numeric_limits<Index>::max(), std::numeric_limits<Index>::min()});
      all.tables.push_back({{}, length});
    }
    for (std::size_t k = 0; k < all.blocks.size(); ++k) all.tables[k].blocks = all.blocks[k];
    return all;
  }

  bool holds(const dca::BlockTable& table, Index length) const {
    return length >= 0 && length <= static_cast<Index>(table.blocks.size()) * block_size;
  }

  /// Whether blocks hold pieces of the same windows wherever they stand; others must keep their place.
  bool valid_at_any_place() const {
    const Index window = tokens.shape.summary_block;
    return window == 0 || window % block_size == 0 || block_size % window == 0;
  }

  /// Blocks that take new tokens must be in use, of one user, and be taken once; those that share a window with them
  /// are read, and must be in use. Whether others are looked at is left open.
  Verdict may_append(const Tables& all, Index more) const {
    const Index window = std::max<Index>(tokens.shape.summary_block, 1);
    std::vector<Index> written, read;
    bool others = !valid_at_any_place();
    for (const dca::BlockTable& table : all.tables) {
      if (!holds(table, table.length) || !holds(table, table.length + more)) return Verdict::refused;
      for (Index b = 0; b < static_cast<Index>(table.blocks.size()); ++b) {
        const Index block = table.blocks[static_cast<std::size_t>(b)];
        const bool writes = more > 0 && (b + 1) * block_size > table.length && b * block_size < table.length + more;
        const bool reads = more > 0 && tokens.shape.summary_block > 0 && b < table.length / block_size &&
                           (b + 1) * block_size > table.length / window * window;
        if (writes) {
          if (!in_use(block) || users[static_cast<std::size_t>(block)] > 1) return Verdict::refused;
          if (std::count(written.begin(), written.end(), block) > 0) return Verdict::refused;
          written.push_back(block);
        } else if (reads) {
          read.push_back(block);
        } else {
          others = others || !in_use(block);
        }
      }
    }
    for (const Index block : read) {
      if (!in_use(block) || std::count(written.begin(), written.end(), block) > 0) return Verdict::refused;
    }
    return others ? Verdict::open : Verdict::right;
  }

  Verdict may_read(const dca::BlockTable& table) const {
    if (!holds(table, table.length)) return Verdict::refused;
    for (Index b = 0; b * block_size < table.length; ++b) {
      if (!in_use(table.blocks[static_cast<std::size_t>(b)])) return Verdict::refused;
    }
    return valid_at_any_place() || table.length == 0 ? Verdict::right : Verdict::open;
  }
  Verdict may_read(const Tables& all) const {
    Verdict verdict = Verdict::right;
    for (const dca::BlockTable& table : all.tables) {
      const Verdict one = may_read(table);
      if (one == Verdict::refused) return one;
      if (one == Verdict::open) verdict = one;
    }
    return verdict;
  }

  void check_contents() {
    for (Index block = 0; block < count(); ++block) {
      require(pool.users(block) == users[static_cast<std::size_t>(block)], "a block has other users");
      const dca::BlockTable alone{std::span<const Index>(&block, 1), block_size};
      for (Index k = 0; k < block_size; ++k) {
        if (!slot(block, k)) continue;
        for (Index h = 0; h < tokens.shape.kv_heads; ++h) {
          check_token<K, Placement, V>(tokens, pool.keys(alone, h, k), pool.values(alone, h, k), h, *slot(block, k));
        }
      }
    }
    require(pool.free_blocks() == static_cast<Index>(std::count(users.begin(), users.end(), 0)), "free blocks");
  }
};

template <class K, class Placement, class V>
class PoolFuzz {
 public:
  using Known = KnownPool<K, Placement, V>;

  PoolFuzz(Bytes& bytes, const Tokens& tokens)
      : bytes_(bytes),
        same_shape_(!bytes.one_in(4)),
        pools_{Known(tokens, bytes.integer(0, 7), bytes.pick<Index>({4, 1, 3, 8, 24})),
               Known(same_shape_ ? tokens : another(bytes, tokens), bytes.integer(1, 5),
                     bytes.pick<Index>({4, 1, 6, 8, 24}))} {}

  void run() {
    for (int step = 0; step < 30 && !bytes_.empty(); ++step) {
      Known& known = pools_[static_cast<std::size_t>(bytes_.one_in(3) ? 1 : 0)];
      switch (bytes_.integer(0, 7)) {
        case 0:
        case 1:
          take(known);
          break;
        case 2:
          share_or_give_back(known);
          break;
        case 3:
          copy(known, known);
          break;
        case 4:
          copy(pools_[0], pools_[1]);
          break;
        case 5:
          view(known);
          break;
        default:
          append(known);
      }
    }
    for (Known& known : pools_) known.check_contents();
  }

 private:
  static Tokens another(Bytes& bytes, Tokens tokens) {
    constexpr bool unplaced = std::is_same_v<Placement, dca::Unplaced>;
    switch (bytes.integer(unplaced ? 1 : 0, 3)) {
      case 0:
        tokens.shape.summary_block += 8;
        break;
      case 1:
        ++tokens.shape.kv_heads;
        break;
      case 2:
        tokens.shape.head_dim += 32;
        break;
      default:
        tokens.shape.v_head_dim += 32;
    }
    return tokens;
  }

  void take(Known& known) {
    const bool right = std::count(known.users.begin(), known.users.end(), 0) > 0;
    Index block = -1;
    require(refuses([&] { block = known.pool.take(); }) == !right, "take");
    if (!right) return;
    require(known.exists(block) && !known.in_use(block), "a block was taken that is in use");
    known.users[static_cast<std::size_t>(block)] = 1;
  }

  void share_or_give_back(Known& known) {
    const Index block = known.any_block(bytes_);
    const bool right = known.in_use(block), shares = bytes_.one_in(2);
    require(refuses([&] { shares ? known.pool.share(block) : known.pool.give_back(block); }) == !right,
            "share or give_back");
    if (right) known.users[static_cast<std::size_t>(block)] += shares ? 1 : -1;
    require(refuses([&] { known.pool.users(block); }) == !known.exists(block), "users");
  }

  void copy(Known& from, Known& to) {
    const Index source = from.any_block(bytes_), target = to.any_block(bytes_);
    const Index most = std::min(from.block_size, to.block_size);
    const Index count = bytes_.one_in(8) ? bytes_.pick<Index>({-1, most + 1, std::numeric_limits<Index>::max()})
                                         : bytes_.integer(0, most);
    const bool same_pool = &from == &to;
    const bool right = from.in_use(source) && to.in_use(target) && to.users[static_cast<std::size_t>(target)] == 1 &&
                       count >= 0 && count <= most && (same_pool ? source != target : same_shape_);
    // Summaries of windows that fall otherwise in the two pools cannot be copied.
    const bool open = from.block_size != to.block_size && from.tokens.shape.summary_block > 0;
    const bool refused = refuses([&] {
      same_pool ? to.pool.copy_tokens(source, target, count)
                : to.pool.copy_tokens_from(from.pool, source, target, count);
    });
    require(refused == !right || (right && open), "copy_tokens");
    for (Index k = 0; !refused && k < count; ++k) to.slot(target, k) = from.slot(source, k);
  }

  void view(Known& known) {
    const Tables all = known.any_tables(bytes_);
    using View = dca::PagedKeyValues<typename Known::Pool>;
    const std::span<const dca::BlockTable> tables(all.tables);
    check_verdict(known.may_read(all), refuses([&] { View(known.pool, tables); }), "a view of tables");
    const Index order[] = {bytes_.integer(-1, 4)};
    const bool there = order[0] >= 0 && order[0] < static_cast<Index>(tables.size());
    check_verdict(there ? known.may_read(tables[static_cast<std::size_t>(order[0])]) : Verdict::refused,
                  refuses([&] { View(known.pool, tables, order); }), "a view of a table by its number");
  }

  static void check_verdict(Verdict verdict, bool refused, const std::string& what) {
    require(verdict == Verdict::open || refused == (verdict == Verdict::refused), what);
  }

  void append(Known& known) {
    const Tables all = known.any_tables(bytes_);
    const Index count = bytes_.integer(0, 10), batch = static_cast<Index>(all.tables.size());
    NewTokens rows(known.tokens, next_, batch, count);
    const bool spoiled = bytes_.one_in(8) && rows.spoil(bytes_);
    Verdict verdict = known.may_append(all, count);
    if (spoiled) verdict = Verdict::refused;
    const bool refused = refuses(
        [&] { known.pool.append(device_, std::span<const dca::BlockTable>(all.tables), rows.keys, rows.values); });
    check_verdict(verdict, refused, "append through tables");
    if (refused) return;
    for (Index b = 0; b < batch; ++b) {
      const dca::BlockTable& table = all.tables[static_cast<std::size_t>(b)];
      for (Index k = 0; k < count; ++k) {
        const Index position = table.length + k;
        const Index block = table.blocks[static_cast<std::size_t>(position / known.block_size)];
        known.slot(block, position % known.block_size) = Placed{next_ + b * count + k, position};
      }
    }
    next_ += batch * count;
  }

  Bytes& bytes_;
  bool same_shape_;
  std::array<Known, 2> pools_;
  Eigen::DefaultDevice device_;
  Index next_ = 0;
};

}  // namespace

void fuzz_pool(Bytes& bytes) {
  Tokens tokens(bytes);
  with_storage(bytes, [&]<class K, class Placement, class V>() {
    if (std::is_same_v<Placement, dca::Unplaced>) tokens.shape.summary_block = 0;
    PoolFuzz<K, Placement, V>(bytes, tokens).run();
  });
}

}  // namespace dca_fuzz
