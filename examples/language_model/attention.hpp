// The ways to reach past a model's window that are compared.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "layer_cache.hpp"

namespace dca_lm {

/// Which keys a query sees, and from which positions.
enum class Remapping { dual_chunk, whole, streaming, self_extend, intra_chunk, intra_and_inter };

/// What becomes of the rotary frequencies.
enum class Stretch { none, linear, ntk, yarn };

/// What a name stands for.
struct AttentionMethod {
  std::string_view name;
  Remapping remapping;
  Stretch stretch;

  bool has_chunks() const {
    return remapping == Remapping::dual_chunk || remapping == Remapping::intra_chunk ||
           remapping == Remapping::intra_and_inter;
  }
  bool has_distant_chunks() const {
    return remapping == Remapping::dual_chunk || remapping == Remapping::intra_and_inter;
  }
};

/// All that there are.
std::span<const AttentionMethod> attention_methods();

/// Throws Error for another name.
const AttentionMethod& attention_method(const std::string& name);

/// Their names, as a list for people.
std::string attention_names();

/// What the command line says. A number is used by those methods alone that have it; 0, or -1 for local_window, leaves
/// it to the model and to the length of the text.
struct AttentionChoice {
  std::string name = "dca";
  Index chunk_size = 0;     // of methods with chunks; default 3/4 of the trained window
  Index local_window = 0;   // likewise; default 1/8, and at most 1/6 of a chunk_size that is given
  double rope_scale = 1.0;  // of methods that stretch frequencies; default max(1, tokens / trained window)
  Index sinks = 4;          // of streaming
  Index window = 0;  // of streaming, default the trained window less the sinks; of self-extend, default 1/4 of it
  Index group = 0;   // of self-extend; default the smallest that keeps all positions in the trained window
  std::string inter = "all";  // of dca, with any frequencies: all, recent:N or top:N keys of distant chunks
};

/// The rotary embedding of a model: GGUF's Llama weights are permuted for interleaved pairs. frequency_divisors, one
/// per pair or none, are the file's own scaling.
struct ModelRope {
  Index rotary_dim;
  double theta;
  Index trained_window;
  std::vector<double> frequency_divisors;
};

/// The choice with its defaults for a text of so many tokens.
AttentionChoice with_defaults(AttentionChoice choice, Index trained_window, Index text_tokens);

/// Causal attention of a model, as chosen.
class Attention {
 public:
  /// Throws dca_lm::Error for another name, another `inter` or a size of streaming or self-extend out of range,
  /// std::invalid_argument for other numbers out of range.
  Attention(const AttentionChoice& choice, const ModelRope& rope);

  /// A cache of one layer that this attention, which must outlive it, reads. Throws Error where head_dim does not suit
  /// the type or there are no distant chunks to choose from, std::bad_alloc.
  LayerCache make_cache(const KvStorage& storage, const dca::CacheShape& shape, const CacheSize& size) const;

 private:
  /// With what its parts refer to.
  struct Operator {
    std::shared_ptr<const void> layout;
    dca::compiled::Attention attend;
  };

  template <class... Parts, class Layout>
  static Operator make_of(const Layout& layout, dca::compiled::AttentionConfig config);
  static Operator make(const AttentionChoice& choice, const ModelRope& rope);

  Operator operator_;
  bool has_distant_chunks_;
  dca::compiled::Selection inter_;
};

/// What --inter says. Throws Error for anything but all, recent:N and top:N with N from 0 on.
dca::compiled::Selection inter_selection(const std::string& text);

}  // namespace dca_lm
