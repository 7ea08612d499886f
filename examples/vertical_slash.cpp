// A policy of your own for the keys of distant chunks: vertical lines and slashes, as MInference (Jiang et al. 2024,
// arXiv:2407.02490) estimates them. Some keys are looked at by everyone (columns of the attention matrix), some
// distances are looked at from everywhere (its diagonals). The last 64 queries tell which; all others follow.
#define EIGEN_USE_THREADS
#include <algorithm>
#include <cstdio>
#include <dca/dca.hpp>
#include <numeric>
#include <random>
#include <unsupported/Eigen/CXX11/Tensor>

using dca::Index;
using Tensor = Eigen::Tensor<float, 3, Eigen::RowMajor>;  // [length, heads, head_dim]

/// Columns and diagonals of one head, by the last queries' attention to the keys of distant chunks.
class VerticalSlash {
 public:
  struct Sizes {
    Index columns, diagonals;  // how many to keep
    Index block = 64;          // keys that are visited together
  };

  VerticalSlash(const Tensor& query, const Tensor& key, dca::ChunkLayout chunks, const dca::RotaryEmbedding& rope,
                Sizes sizes)
      : sizes_(sizes) {
    const Index length = query.dimension(0), last_queries = std::min<Index>(64, length), first = length - last_queries;
    // As the inter-chunk part places the two, but with the query at its distance, not clamped to chunk_size: clamped,
    // all its diagonals would look alike.
    Tensor q =
        query.slice(std::array<Index, 3>{first, 0, 0}, std::array<Index, 3>{last_queries, 1, query.dimension(2)});
    Tensor k = key;
    std::vector<Index> query_positions, key_positions;
    for (Index i = first; i < length; ++i) query_positions.push_back(i % chunks.chunk_len() + 2 * chunks.chunk_len());
    for (Index j = 0; j < length; ++j) key_positions.push_back(dca::InterChunk::key_position(chunks, j));
    dca::rotate(rope, query_positions, dca::blhd(q));
    dca::rotate(rope, key_positions, dca::blhd(k));

    const double scale = 1.0 / std::sqrt(static_cast<double>(query.dimension(2)));
    std::vector<double> columns(static_cast<std::size_t>(length)), diagonals(columns.size());
    for (Index i = first; i < length; ++i) {
      const float* const row = &q(i - first, 0, 0);
      std::vector<double> logits(static_cast<std::size_t>(dca::InterChunk::keys(chunks, i).last));
      for (std::size_t j = 0; j < logits.size(); ++j) {
        logits[j] = std::inner_product(row, row + q.dimension(2), &k(static_cast<Index>(j), 0, 0), 0.0);
      }
      add_softmax(logits, scale, i, columns, diagonals);
    }
    columns_ = largest(columns, sizes.columns);
    diagonals_ = largest(diagonals, sizes.diagonals);
  }

  Index block_size() const { return sizes_.block; }
  Index queries() const { return sizes_.block; }

  /// The library asks: which keys do these queries visit?
  void choose(const dca::QueryBlock& query, dca::BlockSet& set) const {
    const Index first = query.keys.first, last = query.keys.last;
    set.add_keys({first, first + sizes_.block});  // the first columns and the last diagonals always
    set.add_keys({last - sizes_.block, last});
    for (const Index column : columns_) set.add_keys({column, column + 1});
    for (const Index distance : diagonals_) {
      set.add_keys({query.queries.first - distance, query.queries.last - distance});
    }
  }

 private:
  static void add_softmax(const std::vector<double>& logits, double scale, Index i, std::vector<double>& columns,
                          std::vector<double>& diagonals) {
    if (logits.empty()) return;
    const double most = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (const double logit : logits) total += std::exp((logit - most) * scale);
    for (std::size_t j = 0; j < logits.size(); ++j) {
      const double weight = std::exp((logits[j] - most) * scale) / total;
      columns[j] += weight;
      diagonals[static_cast<std::size_t>(i) - j] += weight;
    }
  }

  static std::vector<Index> largest(const std::vector<double>& weight, Index count) {
    std::vector<Index> order(weight.size());
    std::iota(order.begin(), order.end(), Index{0});
    const auto end = order.begin() + std::min<Index>(count, static_cast<Index>(order.size()));
    std::partial_sort(order.begin(), end, order.end(), [&](Index a, Index b) {
      return weight[static_cast<std::size_t>(a)] > weight[static_cast<std::size_t>(b)];
    });
    order.erase(end, order.end());
    return order;
  }

  Sizes sizes_;
  std::vector<Index> columns_, diagonals_;
};

int main() {
  // One head. A few keys far back are what everyone looks for; the rest is noise.
  constexpr Index length = 6000, head_dim = 64;
  Tensor query(length, 1, head_dim), key(length, 1, head_dim), value(length, 1, head_dim);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (Tensor* tensor : {&query, &key, &value}) {
    for (Index k = 0; k < tensor->size(); ++k) tensor->data()[k] = normal(random);
  }
  const dca::ChunkLayout chunks({.chunk_size = 768, .local_window = 128});
  const dca::RotaryEmbedding rope(dca::plain_frequencies(head_dim / 2, 10000.0));  // half of the features turn
  for (const Index wanted : {500, 1234, 2999}) {
    for (Index d = head_dim / 2; d < head_dim; ++d) key(wanted, 0, d) = 2.5f;
  }
  for (Index i = 0; i < length; ++i) {
    for (Index d = head_dim / 2; d < head_dim; ++d) query(i, 0, d) += 1.5f;
  }

  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  const dca::DualChunkAttention<float> attention({.chunks = chunks, .rope = rope});
  Tensor exact(length, 1, head_dim), chosen(length, 1, head_dim);
  attention(device, dca::blhd(query), dca::blhd(key), dca::blhd(value), dca::blhd(exact));

  std::vector<dca::ChosenBlocks> blocks;
  const VerticalSlash policy(query, key, chunks, rope, {.columns = 16, .diagonals = 8});
  attention(device, dca::blhd(query), dca::blhd(key), dca::blhd(value), dca::blhd(chosen), {.chosen = &blocks}, policy);

  Index visited = 0, all = 0;
  for (const auto& [where, of] : blocks) {
    visited += static_cast<Index>(of.size());
    all += (where.keys.last + policy.block_size() - 1) / policy.block_size();
  }
  const Eigen::Tensor<float, 0, Eigen::RowMajor> error = (exact - chosen).square().mean().sqrt();
  const Eigen::Tensor<float, 0, Eigen::RowMajor> size = exact.square().mean().sqrt();
  std::printf("%td of %td blocks of distant keys visited; the output is off by %.1f %% of its size\n", visited, all,
              100.0 * static_cast<double>(error()) / static_cast<double>(size()));
  return visited < all / 2 && error() < 0.3f * size() ? 0 : 1;
}
