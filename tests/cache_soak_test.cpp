// Long random lives of caches, against plain lists of tokens.
#include <map>

#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;

namespace {

/// A token is its number: its value is the number, its key a small one made from it.
float key_of(Index token) { return static_cast<float>(token * 37 % 101) / 50.0f - 1.0f; }

constexpr dca::CacheShape shape{.kv_heads = 1, .head_dim = 1, .v_head_dim = 1};
constexpr Index most_new_tokens = 7;

/// The next tokens, as tensors.
struct NewTokens {
  std::vector<float> keys, values;
  explicit NewTokens(const std::vector<Index>& tokens) {
    for (const Index token : tokens) {
      keys.push_back(key_of(token));
      values.push_back(static_cast<float>(token));
    }
  }
  dca::TensorView<const float> key() const { return view(keys); }
  dca::TensorView<const float> value() const { return view(values); }

 private:
  static dca::TensorView<const float> view(const std::vector<float>& x) {
    return dca::contiguous(x.data(), {static_cast<Index>(x.size()), 1, 1});
  }
};

/// Keys without rotation: whatever its chunk, a key is met as it is.
dca::DualChunkAttention<float> make_attention() { return make_chunked<dca::DualChunkAttention<float>>({5, 2}, 0); }

/// Whether sequence s of a view holds `tokens`.
template <class View>
bool holds(const View& view, Index s, const std::vector<Index>& tokens) {
  if (view.length(s) != static_cast<Index>(tokens.size())) return false;
  for (Index j = 0; j < view.length(s); ++j) {
    const Index token = tokens[static_cast<std::size_t>(j)];
    if (*view.keys(s, 0, j).data != key_of(token) || *view.values(s, 0, j).data != static_cast<float>(token))
      return false;
  }
  return true;
}

/// Whether attention of one query on a view of one sequence is the mean of its tokens, weighted by softmax of their
/// keys.
template <class View>
bool attends(const dca::DualChunkAttention<float>& attention, const View& view, const std::vector<Index>& tokens) {
  const float query = 1.5f;
  float out = 0;
  attention(Eigen::DefaultDevice{}, dca::contiguous(&query, {1, 1, 1, 1}), view, dca::contiguous(&out, {1, 1, 1, 1}));
  double sum = 0, total = 0;
  for (const Index token : tokens) {
    const double weight = std::exp(1.5 * static_cast<double>(key_of(token)));
    sum += weight * static_cast<double>(token);
    total += weight;
  }
  return std::abs(static_cast<double>(out) - sum / total) <= weight_bound<float>({}) * std::max(1.0, sum / total);
}

/// What a paged cache should hold. Blocks are marks that sequences share as the cache should share its blocks.
class PagedModel {
 public:
  PagedModel(Index blocks, Index block_size) : blocks_(blocks), block_size_(block_size) {}

  struct Sequence {
    std::vector<Index> tokens{};
    std::vector<Index> marks{};
  };
  std::map<Index, Sequence> sequences;  // by the cache's number

  Index free_blocks() const { return blocks_ - static_cast<Index>(users_.size()); }

  /// Whether `count` tokens fit; if so, they are there afterwards.
  bool append(Index sequence, const std::vector<Index>& tokens) {
    Sequence& to = sequences.at(sequence);
    const auto length = static_cast<Index>(to.tokens.size()), count = static_cast<Index>(tokens.size());
    if (count == 0) return true;
    const bool copies = length % block_size_ != 0 && users_.at(to.marks.back()) > 1;
    const Index after = (length + count + block_size_ - 1) / block_size_;
    if (after - static_cast<Index>(to.marks.size()) + (copies ? 1 : 0) > free_blocks()) return false;
    if (copies) drop_last(to);
    while (static_cast<Index>(to.marks.size()) < after) {
      to.marks.push_back(next_mark_);
      users_[next_mark_++] = 1;
    }
    to.tokens.insert(to.tokens.end(), tokens.begin(), tokens.end());
    return true;
  }

  void fork(Index from, Index to) {
    sequences[to] = sequences.at(from);
    for (const Index mark : sequences[to].marks) ++users_[mark];
  }

  void truncate(Index sequence, Index length) {
    Sequence& of = sequences.at(sequence);
    of.tokens.resize(static_cast<std::size_t>(length));
    while (static_cast<Index>(of.marks.size()) * block_size_ >= length + block_size_) drop_last(of);
  }

  void remove(Index sequence) {
    truncate(sequence, 0);
    sequences.erase(sequence);
  }

 private:
  void drop_last(Sequence& of) {
    if (--users_[of.marks.back()] == 0) users_.erase(of.marks.back());
    of.marks.pop_back();
  }

  Index blocks_, block_size_, next_mark_ = 0;
  std::map<Index, Index> users_;  // by mark
};

/// One random step after the other on a paged cache and on its model.
class PagedSoak {
 public:
  static constexpr Index blocks = 48, block_size = 3, most_sequences = 10;

  explicit PagedSoak(Random& random)
      : random_(random),
        attention_(make_attention()),
        cache_(attention_.make_paged_cache<float>(shape, blocks, block_size)),
        model_(blocks, block_size) {}

  /// Whether the cache still is what the model says.
  bool step() {
    const Index kind = random_.integer(0, 99), sequence = any();
    if (sequence < 0 || (kind < 6 && count() < most_sequences)) {
      const Index added = cache_.add();
      return model_.sequences.emplace(added, PagedModel::Sequence{}).second;
    }
    if (kind < 14 && count() < most_sequences) {
      const Index copy = cache_.fork(sequence);
      if (model_.sequences.count(copy) != 0) return false;
      model_.fork(sequence, copy);
    } else if (kind < 30) {
      const Index length = random_.integer(std::max<Index>(0, cache_.length(sequence) - 8), cache_.length(sequence));
      cache_.truncate(sequence, length);
      model_.truncate(sequence, length);
    } else if (kind < 36) {
      cache_.remove(sequence);
      model_.remove(sequence);
    } else if (!append(sequence)) {
      return false;
    }
    return cache_.pool().free_blocks() == model_.free_blocks();
  }

  /// Whether a random sequence holds its tokens; and, if asked, attention sees them.
  bool look(bool attend) {
    const Index sequence = any();
    if (sequence < 0) return true;
    const std::vector<Index> only{sequence};
    const std::vector<Index>& tokens = model_.sequences.at(sequence).tokens;
    if (!holds(cache_.view(only), 0, tokens)) return false;
    return !attend || tokens.empty() || attends(attention_, cache_.view(only), tokens);
  }

  /// Whether all blocks are free when all sequences are gone.
  bool finish() {
    while (count() > 0) {
      const Index sequence = any();
      if (!look(true)) return false;
      cache_.remove(sequence);
      model_.remove(sequence);
    }
    std::vector<bool> free(static_cast<std::size_t>(blocks), true);
    for (Index block = 0; block < blocks; ++block)
      free[static_cast<std::size_t>(block)] = cache_.pool().users(block) == 0;
    return cache_.pool().free_blocks() == blocks && std::find(free.begin(), free.end(), false) == free.end();
  }

  Index refused() const { return refused_; }

 private:
  Index count() const { return static_cast<Index>(model_.sequences.size()); }

  Index any() {
    if (count() == 0) return -1;
    return std::next(model_.sequences.begin(), random_.integer(0, count() - 1))->first;
  }

  bool append(Index sequence) {
    std::vector<Index> tokens(static_cast<std::size_t>(random_.integer(0, most_new_tokens)));
    for (Index& token : tokens) token = next_token_++ % (Index{1} << 24);
    const Index length = cache_.length(sequence);
    const bool fits = model_.append(sequence, tokens);
    const NewTokens rows(tokens);
    try {
      cache_.append(Eigen::DefaultDevice{}, sequence, rows.key(), rows.value());
      return fits;
    } catch (const std::invalid_argument&) {
      ++refused_;
      return !fits && cache_.length(sequence) == length;
    }
  }

  Random& random_;
  dca::DualChunkAttention<float> attention_;
  dca::PagedCache<float> cache_;
  PagedModel model_;
  Index next_token_ = 0, refused_ = 0;
};

}  // namespace

TEST_CASE("a million random steps leave a paged cache as its model, and no block is lost") {
  Random random;
  PagedSoak soak(random);
  constexpr int steps = 1000000;
  for (int step = 0; step < steps; ++step) {
    if (!soak.step()) FAIL("step " << step);
    if (step % 16 == 0 && !soak.look(step % 1024 == 0)) FAIL("other tokens after step " << step);
  }
  CHECK(soak.refused() > steps / 100);  // the pool was full now and then
  CHECK(soak.finish());
}

TEST_CASE("random steps leave a contiguous cache as its model") {
  constexpr Index sequences = 4, capacity = 40;
  Random random;
  const auto attention = make_attention();
  for (const bool grows : {false, true}) {
    auto cache = attention.make_cache<float>(shape, sequences, {.tokens = grows ? 1 : capacity, .grows = grows});
    std::vector<std::vector<Index>> model(sequences);
    Index next_token = 0, refused = 0;
    for (int step = 0; step < 100000; ++step) {
      const Index s = random.integer(0, sequences - 1), kind = random.integer(0, 9);
      std::vector<Index>& tokens = model[static_cast<std::size_t>(s)];
      const auto length = static_cast<Index>(tokens.size());
      if (kind < 2) {
        cache.truncate(s, random.integer(std::max<Index>(0, length - 20), length));
        tokens.resize(static_cast<std::size_t>(cache.length(s)));
      } else if (kind < 4) {
        const Index to = (s + random.integer(1, sequences - 1)) % sequences, count = random.integer(0, length);
        cache.copy_prefix(s, to, count);
        model[static_cast<std::size_t>(to)].assign(tokens.begin(), tokens.begin() + count);
      } else {
        std::vector<Index> more(static_cast<std::size_t>(random.integer(0, most_new_tokens)));
        for (Index& token : more) token = next_token++;
        const NewTokens rows(more);
        const bool fits = grows || length + static_cast<Index>(more.size()) <= capacity;
        if (fits) tokens.insert(tokens.end(), more.begin(), more.end());
        try {
          cache.append(Eigen::DefaultDevice{}, s, rows.key(), rows.value());
          if (!fits) FAIL("step " << step << ": took more than its capacity");
        } catch (const std::invalid_argument&) {
          if (fits) FAIL("step " << step << ": refused what fits");
          ++refused;
        }
      }
      if (!holds(cache.view(), s, tokens)) FAIL("other tokens after step " << step);
      const std::vector<Index> only{s};
      if (step % 512 == 0 && !tokens.empty() && !attends(attention, cache.view(only), tokens)) FAIL("step " << step);
    }
    CHECK((refused > 0) != grows);
  }
}
