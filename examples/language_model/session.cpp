#include "session.hpp"

#include <algorithm>

#include "error.hpp"
#include "products.hpp"

namespace dca_lm {
namespace {

// Pieces of at most so many tokens are multiplied as vectors: all their rows with a block of the weights, so that the
// weights are read once. Longer ones are cut into blocks of rows that are multiplied as matrices.
constexpr Index most_few_rows = 16;

std::string tokens_after(std::size_t count, Index length) {
  return std::to_string(count) + " tokens after " + std::to_string(length);
}

Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }

}  // namespace

/// The rows of a step: those of short pieces first.
struct Session::Rows {
  explicit Rows(std::span<const Piece> given) : pieces(given.begin(), given.end()), cu_seqlens{0} {
    const auto is_short = [](const Piece& piece) { return static_cast<Index>(piece.tokens.size()) <= most_few_rows; };
    std::stable_partition(pieces.begin(), pieces.end(), is_short);
    for (const Piece& piece : pieces) {
      const auto count = static_cast<Index>(piece.tokens.size()), first = cu_seqlens.back();
      sequences.push_back(piece.sequence);
      cu_seqlens.push_back(first + count);
      if (is_short(piece)) {
        few = first + count;
        continue;
      }
      // Small enough that a short prompt keeps several threads busy, and the same for any number of them.
      const Index step = std::clamp<Index>(ceil_div(count, 512) * 32, 32, 256);
      for (Index row = 0; row < count; row += step) blocks.emplace_back(first + row, std::min(step, count - row));
    }
  }

  Index total() const { return cu_seqlens.back(); }

  /// body(first, count, multiply) for the rows of the short pieces, then for blocks of the others, on the threads of
  /// the executor.
  template <class Body>
  void for_blocks(const dca::Executor& executor, const Body& body) const {
    if (few > 0) body(Index{0}, few, MultiplyVectors{executor});
    for_tasks(executor, static_cast<Index>(blocks.size()), [&](Index k) {
      const auto& [first, count] = blocks[static_cast<std::size_t>(k)];
      body(first, count, MultiplyMatrices{});
    });
  }

  std::vector<Piece> pieces;
  std::vector<Index> sequences, cu_seqlens;
  Index few = 0;
  std::vector<std::pair<Index, Index>> blocks;  // first row and number of rows
};

Session::Session(const LlamaModel& model, const Attention& attention, const dca::Executor& executor,
                 const CacheSize& size, const KvStorage& storage)
    : model_(model), executor_(executor), size_(size), lengths_(static_cast<std::size_t>(size.sequences), 0) {
  const LlamaConfig& c = model.config();
  for (Index layer = 0; layer < c.layers; ++layer) {
    caches_.push_back(attention.make_cache(storage, {c.kv_heads, c.head_dim, c.head_dim}, size));
  }
}

void Session::share_key_offsets(const Session& other) {
  for (std::size_t layer = 0; layer < caches_.size(); ++layer) caches_[layer].share_key_offset(other.caches_[layer]);
}

void Session::truncate(Index length, Index sequence) {
  Index& now = lengths_[static_cast<std::size_t>(sequence)];
  now = std::min(length, now);
  for (LayerCache& cache : caches_) cache.truncate(sequence, now);
}

Index Session::cache_bytes() const {
  Index bytes = 0;
  for (const LayerCache& cache : caches_) bytes += cache.bytes();
  return bytes;
}

void Session::check(std::span<const Piece> pieces) const {
  std::vector<Index> lengths = lengths_;
  for (const Piece& piece : pieces) {
    if (piece.sequence < 0 || piece.sequence >= size_.sequences) {
      throw Error("sequence " + std::to_string(piece.sequence) + "; must be from 0 to " +
                  std::to_string(size_.sequences - 1));
    }
    const Index before = length(piece.sequence);
    Index& after = lengths[static_cast<std::size_t>(piece.sequence)];
    if (after != before) throw Error("sequence " + std::to_string(piece.sequence) + " comes twice in a step");
    after += static_cast<Index>(piece.tokens.size());
    if (piece.tokens.empty() || (size_.block_size == 0 && after > size_.tokens)) {
      throw Error(tokens_after(piece.tokens.size(), before) + "; there is room for " + std::to_string(size_.tokens));
    }
    for (const Token token : piece.tokens) {
      if (token < 0 || token >= model_.config().vocabulary) {
        throw Error("token " + std::to_string(token) + " is not in the vocabulary");
      }
    }
  }
  if (size_.block_size == 0) return;
  Index blocks = 0;
  for (const Index length : lengths) blocks += ceil_div(length, size_.block_size);
  if (const Index most = size_.tokens / size_.block_size; blocks > most) {
    throw Error("the sequences need " + std::to_string(blocks) + " blocks of " + std::to_string(size_.block_size) +
                " tokens; there are " + std::to_string(most));
  }
}

Matrix Session::run(const Rows& rows, const ProgressCallback& progress) {
  const LlamaConfig& c = model_.config();
  Matrix states(rows.total(), c.width);
  Index row = 0;
  for (const Piece& piece : rows.pieces) {
    for (const Token token : piece.tokens) states.row(row++) = model_.embedding_.row(token);
  }
  queries_.resize(rows.total(), c.width);
  attended_.resize(rows.total(), c.width);
  keys_.resize(rows.total(), c.kv_heads * c.head_dim);
  values_.resize(rows.total(), c.kv_heads * c.head_dim);
  for (std::size_t layer = 0; layer < model_.layers_.size(); ++layer) {
    run_layer(layer, rows, states);
    if (progress) progress(static_cast<double>(layer + 1) / static_cast<double>(model_.layers_.size()));
  }
  for (const Piece& piece : rows.pieces) {
    lengths_[static_cast<std::size_t>(piece.sequence)] += static_cast<Index>(piece.tokens.size());
  }
  return states;
}

Matrix Session::read(std::span<const Token> tokens, Index wanted, const ProgressCallback& progress) {
  const Piece piece{0, tokens};
  check({&piece, 1});
  const Matrix states = run(Rows({&piece, 1}), progress);
  return model_.normalised_for_output(states.bottomRows(std::min(wanted, states.rows())));
}

Matrix Session::read(std::span<const Piece> pieces, const ProgressCallback& progress) {
  check(pieces);
  if (pieces.empty()) return Matrix(0, model_.config().width);
  const Rows rows(pieces);
  const Matrix states = run(rows, progress);
  Matrix last(static_cast<Index>(pieces.size()), states.cols());
  for (std::size_t k = 0; k < pieces.size(); ++k) {
    const auto at = std::find(rows.sequences.begin(), rows.sequences.end(), pieces[k].sequence);
    last.row(static_cast<Index>(k)) =
        states.row(rows.cu_seqlens[static_cast<std::size_t>(at - rows.sequences.begin()) + 1] - 1);
  }
  return model_.normalised_for_output(last);
}

void Session::attend(std::size_t layer, const Rows& rows) {
  LayerCache& cache = caches_[layer];
  const Index head_dim = model_.config().head_dim;
  const auto heads = [&](auto& x, Index first, Index count) {
    return dca::compiled::contiguous(x.data() + first * x.cols(), {count, x.cols() / head_dim, head_dim});
  };
  for (std::size_t k = rows.pieces.size(); k-- > 0;) {  // long pieces first: their keys say more of a key offset
    const Index first = rows.cu_seqlens[k], count = rows.cu_seqlens[k + 1] - first, sequence = rows.sequences[k];
    cache.truncate(sequence, length(sequence));  // a read that failed on its way may have left tokens in some layers
    cache.append(executor_, sequence, heads(keys_, first, count), heads(values_, first, count));
  }
  if (chosen_ != nullptr) chosen_->resize(caches_.size());
  cache.attend(executor_, heads(queries_, 0, rows.total()), heads(attended_, 0, rows.total()),
               {.cu_seqlens = rows.cu_seqlens,
                .sequences = rows.sequences,
                .workspace = &workspace_,
                .chosen = chosen_ == nullptr ? nullptr : &(*chosen_)[layer]});
}

void Session::run_layer(std::size_t index, const Rows& rows, Matrix& states) {
  const LlamaConfig& c = model_.config();
  const LlamaModel::Layer& layer = model_.layers_[index];
  rows.for_blocks(executor_, [&](Index first, Index count, const auto& multiply) {
    const Matrix x = normalised(states.middleRows(first, count), layer.attention_norm, c.norm_epsilon);
    multiply(x, layer.query, queries_.middleRows(first, count));
    multiply(x, layer.key, keys_.middleRows(first, count));
    multiply(x, layer.value, values_.middleRows(first, count));
  });
  attend(index, rows);
  rows.for_blocks(executor_, [&](Index first, Index count, const auto& multiply) {
    auto state = states.middleRows(first, count);
    Matrix update(count, c.width), gate(count, c.hidden), up(count, c.hidden);
    multiply(attended_.middleRows(first, count), layer.output, update);
    state += update;
    const Matrix x = normalised(state, layer.feed_forward_norm, c.norm_epsilon);
    multiply(x, layer.gate, gate);
    multiply(x, layer.up, up);
    gate.array() *= up.array() / (1.0f + (-gate.array()).exp());
    multiply(gate, layer.down, update);
    state += update;
  });
}

}  // namespace dca_lm
