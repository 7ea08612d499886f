// Caches that hold the tables themselves: contiguous and paged.
#include "fuzz/cache_model.hpp"
#include "fuzz/cache_targets.hpp"

namespace dca_fuzz {
namespace {

constexpr Index most_length = 80;

/// A number that may be one of `count` things, or none of them.
Index index_or_not(Bytes& bytes, Index count) {
  if (!bytes.one_in(8)) return bytes.integer(0, std::max<Index>(count - 1, 0));
  return bytes.pick<Index>({-1, count, std::numeric_limits<Index>::min(), std::numeric_limits<Index>::max(), 1 << 20});
}

Index length_or_not(Bytes& bytes, Index length) {
  if (!bytes.one_in(8)) return bytes.integer(0, length);
  return bytes.pick<Index>({-1, length + 1, std::numeric_limits<Index>::min(), std::numeric_limits<Index>::max()});
}

template <class K, class Placement, class V>
class ContiguousFuzz {
 public:
  ContiguousFuzz(Bytes& bytes, Tokens tokens)
      : bytes_(bytes),
        tokens_(tokens),
        grows_(bytes.one_in(2)),
        capacity_(bytes.integer(1, 40)),
        model_(static_cast<std::size_t>(bytes.integer(1, 3))),
        cache_(tokens.placed<Placement>(), tokens.shape, static_cast<Index>(model_.size()),
               {.tokens = capacity_, .grows = grows_}) {}

  void run() {
    for (int step = 0; step < 24 && !bytes_.empty(); ++step) {
      switch (bytes_.integer(0, 4)) {
        case 0:
        case 1:
          append_one();
          break;
        case 2:
          append_all();
          break;
        case 3:
          truncate();
          break;
        default:
          copy_prefix();
      }
      require(cache_.capacity() >= capacity_ && (grows_ || cache_.capacity() == capacity_), "the capacity has changed");
    }
    const auto view = cache_.view();
    for (std::size_t s = 0; s < model_.size(); ++s) check_sequence(tokens_, view, static_cast<Index>(s), model_[s]);
    check_view();
  }

 private:
  bool exists(Index s) const { return s >= 0 && s < static_cast<Index>(model_.size()); }
  Index length(Index s) const { return static_cast<Index>(model_[static_cast<std::size_t>(s)].size()); }
  bool fits(Index length, Index count) const { return length + count <= (grows_ ? most_length : capacity_); }

  void append_one() {
    const Index s = index_or_not(bytes_, static_cast<Index>(model_.size())), count = bytes_.integer(0, 12);
    NewTokens rows(tokens_, next_, 1, count);
    const bool spoiled = bytes_.one_in(8) && rows.spoil(bytes_);
    if (!spoiled && exists(s) && grows_ && !fits(length(s), count)) return;  // that is enough for a model
    const bool right = !spoiled && exists(s) && fits(length(s), count);
    require(refuses([&] { cache_.append(device_, s, rows.keys, rows.values); }) == !right, "append to a sequence");
    if (right) add(s, count);
  }

  void append_all() {
    const Index count = bytes_.integer(0, 6);
    NewTokens rows(tokens_, next_, cache_.sequences(), count);
    const bool spoiled = bytes_.one_in(8) && rows.spoil(bytes_);
    bool right = !spoiled;
    for (Index s = 0; s < cache_.sequences(); ++s) {
      if (!spoiled && grows_ && !fits(length(s), count)) return;
      right = right && fits(length(s), count);
    }
    require(refuses([&] { cache_.append(device_, rows.keys, rows.values); }) == !right, "append to all sequences");
    for (Index s = 0; right && s < cache_.sequences(); ++s) add(s, count);
  }

  void add(Index s, Index count) {
    for (; count > 0; --count) model_[static_cast<std::size_t>(s)].push_back(next_++);
  }

  void truncate() {
    const Index s = index_or_not(bytes_, static_cast<Index>(model_.size()));
    const Index kept = length_or_not(bytes_, exists(s) ? length(s) : 5);
    const bool right = exists(s) && kept >= 0 && kept <= length(s);
    require(refuses([&] { cache_.truncate(s, kept); }) == !right, "truncate");
    if (right) model_[static_cast<std::size_t>(s)].resize(static_cast<std::size_t>(kept));
  }

  void copy_prefix() {
    const auto count = static_cast<Index>(model_.size());
    const Index from = index_or_not(bytes_, count), to = index_or_not(bytes_, count);
    const Index copied = length_or_not(bytes_, exists(from) ? length(from) : 5);
    const bool right = exists(from) && exists(to) && from != to && copied >= 0 && copied <= length(from);
    require(refuses([&] { cache_.copy_prefix(from, to, copied); }) == !right, "copy_prefix");
    if (!right) return;
    model_[static_cast<std::size_t>(to)] = model_[static_cast<std::size_t>(from)];
    model_[static_cast<std::size_t>(to)].resize(static_cast<std::size_t>(copied));
  }

  void check_view() {
    std::vector<Index> order;
    bool right = true;
    for (Index k = bytes_.integer(0, 4); k > 0; --k) {
      order.push_back(index_or_not(bytes_, cache_.sequences()));
      right = right && exists(order.back());
    }
    require(refuses([&] { cache_.view(order); }) == !right, "a view of some sequences");
    if (!right) return;
    const auto view = cache_.view(order);
    for (std::size_t k = 0; k < order.size(); ++k) {
      check_sequence(tokens_, view, static_cast<Index>(k), model_[static_cast<std::size_t>(order[k])]);
    }
  }

  Bytes& bytes_;
  Tokens tokens_;
  bool grows_;
  Index capacity_;
  std::vector<std::vector<Index>> model_;  // tokens by sequence
  dca::KeyValueCache<K, Placement, V> cache_;
  Eigen::DefaultDevice device_;
  Index next_ = 0;
};

/// A paged cache, and of each sequence its tokens and blocks of a pool that only counts.
template <class K, class Placement, class V>
class PagedFuzz {
 public:
  PagedFuzz(Bytes& bytes, Tokens tokens)
      : bytes_(bytes),
        tokens_(tokens),
        block_size_(bytes.pick<Index>({4, 1, 3, 7, 16, 25})),
        users_(static_cast<std::size_t>(bytes.integer(0, 24)), 0),
        cache_(tokens.placed<Placement>(), tokens.shape, static_cast<Index>(users_.size()), block_size_) {}

  void run() {
    for (int step = 0; step < 30 && !bytes_.empty(); ++step) {
      switch (bytes_.integer(0, 6)) {
        case 0:
          add();
          break;
        case 1:
          fork();
          break;
        case 2:
          truncate();
          break;
        case 3:
          remove();
          break;
        default:
          append();
      }
      require(cache_.pool().free_blocks() == free_blocks(), "not as many blocks are free as should be");
    }
    check_all();
  }

 private:
  struct Sequence {
    bool used = false;
    std::vector<Index> tokens{};
    std::vector<std::size_t> blocks{};
  };

  Index free_blocks() const { return static_cast<Index>(std::count(users_.begin(), users_.end(), 0)); }
  bool exists(Index s) const {
    return s >= 0 && s < static_cast<Index>(model_.size()) && model_[static_cast<std::size_t>(s)].used;
  }
  Sequence& at(Index s) { return model_[static_cast<std::size_t>(s)]; }
  Index any() { return index_or_not(bytes_, static_cast<Index>(model_.size())); }

  std::size_t take() {
    const auto block = static_cast<std::size_t>(std::find(users_.begin(), users_.end(), 0) - users_.begin());
    users_[block] = 1;
    return block;
  }

  Sequence& added(Index s) {
    require(s >= 0 && s <= static_cast<Index>(model_.size()) && !exists(s), "a new sequence has the number of another");
    if (s == static_cast<Index>(model_.size())) model_.emplace_back();
    at(s) = {.used = true};
    return at(s);
  }

  void add() {
    if (model_.size() < 8) added(cache_.add());
  }

  void fork() {
    const Index s = any();
    if (model_.size() >= 8) return;
    Index copy = -1;
    require(refuses([&] { copy = cache_.fork(s); }) == !exists(s), "fork");
    if (copy < 0) return;
    const Sequence origin = at(s);
    added(copy) = origin;
    for (const std::size_t block : origin.blocks) ++users_[block];
  }

  void cut(Index s, Index kept) {
    at(s).tokens.resize(static_cast<std::size_t>(kept));
    while (static_cast<Index>(at(s).blocks.size()) > (kept + block_size_ - 1) / block_size_) {
      --users_[at(s).blocks.back()];
      at(s).blocks.pop_back();
    }
  }

  void truncate() {
    const Index s = any(), length = exists(s) ? static_cast<Index>(at(s).tokens.size()) : 5;
    const Index kept = length_or_not(bytes_, length);
    const bool right = exists(s) && kept >= 0 && kept <= length;
    require(refuses([&] { cache_.truncate(s, kept); }) == !right, "truncate");
    if (right) cut(s, kept);
  }

  void remove() {
    const Index s = any();
    const bool right = exists(s);
    require(refuses([&] { cache_.remove(s); }) == !right, "remove");
    if (!right) return;
    cut(s, 0);
    at(s).used = false;
  }

  void append() {
    const Index s = any(), count = bytes_.integer(0, 12);
    NewTokens rows(tokens_, next_, 1, count);
    const bool spoiled = bytes_.one_in(8) && rows.spoil(bytes_);
    bool right = !spoiled && exists(s), copies = false;
    if (right) {
      const auto now = static_cast<Index>(at(s).tokens.size());
      copies = count > 0 && now % block_size_ != 0 && users_[at(s).blocks.back()] > 1;
      const Index needed =
          (now + count + block_size_ - 1) / block_size_ - (now + block_size_ - 1) / block_size_ + (copies ? 1 : 0);
      right = needed <= free_blocks();
    }
    require(refuses([&] { cache_.append(device_, s, rows.keys, rows.values); }) == !right, "append");
    if (!right) return;
    if (copies) {
      const std::size_t own = take();
      --users_[at(s).blocks.back()];
      at(s).blocks.back() = own;
    }
    for (Index k = 0; k < count; ++k) at(s).tokens.push_back(next_++);
    while (at(s).blocks.size() * static_cast<std::size_t>(block_size_) < at(s).tokens.size()) {
      at(s).blocks.push_back(take());
    }
  }

  void check_all() {
    std::vector<Index> order;
    for (std::size_t s = model_.size(); s-- > 0;) {
      if (model_[s].used) order.push_back(static_cast<Index>(s));
    }
    const auto view = cache_.view(order);
    for (std::size_t k = 0; k < order.size(); ++k) {
      check_sequence(tokens_, view, static_cast<Index>(k), at(order[k]).tokens);
    }
    order.push_back(any());
    require(refuses([&] { cache_.view(order); }) == !exists(order.back()), "a view of some sequences");
  }

  Bytes& bytes_;
  Tokens tokens_;
  Index block_size_;
  std::vector<int> users_;  // by block
  dca::PagedCache<K, Placement, V> cache_;
  std::vector<Sequence> model_;
  Eigen::DefaultDevice device_;
  Index next_ = 0;
};

template <template <class, class, class> class Fuzz>
void run(Bytes& bytes) {
  Tokens tokens(bytes);
  with_storage(bytes, [&]<class K, class Placement, class V>() {
    if (std::is_same_v<Placement, dca::Unplaced>) tokens.shape.summary_block = 0;
    Fuzz<K, Placement, V>(bytes, tokens).run();
  });
}

}  // namespace

void fuzz_contiguous(Bytes& bytes) { run<ContiguousFuzz>(bytes); }
void fuzz_paged(Bytes& bytes) { run<PagedFuzz>(bytes); }

}  // namespace dca_fuzz
