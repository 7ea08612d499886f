// A serving engine in miniature: requests of different lengths on one paged cache, prefill and decode mixed in every
// call. The model is one attention layer over random embeddings; everything around it is as in a real engine.
#define EIGEN_USE_THREADS
#include <dca/dca.hpp>
#include <iostream>
#include <random>

using dca::Index;
using Numbers = std::vector<float>;

constexpr Index heads = 8, kv_heads = 2, head_dim = 64, vocabulary = 500, prefill_chunk = 64;

/// The model: a query, a key and a value for each token of the vocabulary.
struct Model {
  Numbers query = random(heads), key = random(kv_heads), value = random(kv_heads);

  static Numbers random(Index head_count) {
    static std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    Numbers numbers(static_cast<std::size_t>(vocabulary * head_count * head_dim));
    for (float& number : numbers) number = normal(generator);
    return numbers;
  }
};

/// A request: its tokens so far, of which the cache holds some.
struct Request {
  std::vector<Index> tokens;
  Index wanted;  // tokens, when it is done
  Index sequence;
  Index cached = 0;

  /// Tokens to read in the next step: a piece of the prompt, or the token generated last.
  Index next() const { return std::min(prefill_chunk, static_cast<Index>(tokens.size()) - cached); }
  bool done() const { return static_cast<Index>(tokens.size()) >= wanted; }
};

/// Rows of a table for `count` tokens from `first` on: [count, head_count, head_dim].
Numbers rows(const Numbers& table, Index head_count, const Request& request, Index first, Index count) {
  const Index size = head_count * head_dim;
  Numbers out;
  for (Index k = first; k < first + count; ++k) {
    const auto row = table.begin() + request.tokens[static_cast<std::size_t>(k)] * size;
    out.insert(out.end(), row, row + size);
  }
  return out;
}

class Engine {
 public:
  Engine()
      : attention_({.chunks = dca::ChunkLayout::from_trained_window(256),
                    .rope = dca::RotaryEmbedding(dca::plain_frequencies(head_dim, 10000.0))}),
        cache_(attention_.make_paged_cache<Eigen::half>({kv_heads, head_dim, head_dim}, 400, 16)) {}

  void submit(std::vector<Index> prompt, Index generate) {
    const Index wanted = static_cast<Index>(prompt.size()) + generate;
    requests_.push_back({std::move(prompt), wanted, cache_.add()});
  }

  /// One step of all requests at once. Returns whether there is more to do.
  bool step(const Eigen::ThreadPoolDevice& device) {
    Numbers query;
    std::vector<Index> sequences, cu_seqlens{0};
    for (Request& request : requests_) {
      if (request.done()) continue;
      const Index count = request.next();
      const Numbers key = rows(model_.key, kv_heads, request, request.cached, count);
      const Numbers value = rows(model_.value, kv_heads, request, request.cached, count);
      const Numbers more = rows(model_.query, heads, request, request.cached, count);
      cache_.append(device, request.sequence, dca::contiguous(key.data(), {count, kv_heads, head_dim}),
                    dca::contiguous(value.data(), {count, kv_heads, head_dim}));
      query.insert(query.end(), more.begin(), more.end());
      sequences.push_back(request.sequence);
      cu_seqlens.push_back(cu_seqlens.back() + count);
      request.cached += count;
    }
    if (sequences.empty()) return false;

    const dca::Extents shape{cu_seqlens.back(), heads, head_dim};
    Numbers out(query.size());
    attention_(device, dca::contiguous<const float>(query.data(), shape), cache_.view(sequences),
               dca::contiguous(out.data(), shape), {.cu_seqlens = cu_seqlens, .workspace = &workspace_});
    std::size_t last = 0;
    for (Request& request : requests_) {
      if (request.done()) continue;
      const Index row = cu_seqlens[++last] - 1;
      // A prompt that is not read to its end has nothing to say yet.
      if (request.cached == static_cast<Index>(request.tokens.size())) request.tokens.push_back(choose(out, row));
      if (request.done()) cache_.remove(request.sequence);
    }
    ++steps_;
    return true;
  }

  /// The token whose value is most like the attention's output: a stand-in for the rest of a model.
  Index choose(const Numbers& out, Index row) const {
    const Eigen::Map<const Eigen::VectorXf> state(out.data() + row * heads * head_dim, kv_heads * head_dim);
    const Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> values(
        model_.value.data(), vocabulary, kv_heads * head_dim);
    Index best = 0;
    (values * state).maxCoeff(&best);
    return best;
  }

  void report() const {
    for (const Request& request : requests_) {
      std::cout << "prompt of " << request.wanted - 20 << " tokens:";
      for (auto token = request.tokens.end() - 20; token != request.tokens.end(); ++token) std::cout << ' ' << *token;
      std::cout << '\n';
    }
    std::cout << requests_.size() << " requests in " << steps_ << " steps; " << cache_.pool().free_blocks() << " of "
              << cache_.pool().blocks() << " blocks are free\n";
  }

 private:
  Model model_;
  dca::DualChunkAttention<float> attention_;
  dca::PagedCache<Eigen::half> cache_;
  dca::Workspace workspace_;
  std::vector<Request> requests_;
  Index steps_ = 0;
};

int main() {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  Engine engine;
  std::mt19937 random(2);
  for (const Index length : {5, 300, 40, 1000, 1}) {
    std::vector<Index> prompt(static_cast<std::size_t>(length));
    for (Index& token : prompt) token = static_cast<Index>(random() % vocabulary);
    engine.submit(std::move(prompt), 20);
  }
  while (engine.step(device)) {
  }
  engine.report();
}
