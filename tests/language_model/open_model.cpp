#include "open_model_parts.hpp"
#include "perplexity.hpp"

namespace dca_lm_test {

OpenModel::OpenModel(const std::string& path, int threads) : parts_(std::make_unique<Parts>(path, threads)) {}

OpenModel::~OpenModel() = default;

const dca_lm::Tokenizer& OpenModel::tokenizer() const { return parts_->tokenizer; }

std::vector<float> OpenModel::log_probabilities(const Choice& choice, const std::vector<Token>& tokens,
                                                std::ptrdiff_t step) const {
  const dca_lm::Attention attention = parts_->attention(choice);
  const auto count = static_cast<std::ptrdiff_t>(tokens.size());
  dca_lm::Session session(parts_->model, attention, parts_->executor, {.tokens = count}, storage_of(choice));
  std::vector<float> result;
  for (std::ptrdiff_t first = 0; first < count; first += step) {
    const std::ptrdiff_t rows = step < count - first ? step : count - first;
    const dca_lm::Matrix hidden = session.read({tokens.data() + first, static_cast<std::size_t>(rows)}, rows);
    const dca_lm::Matrix scores = parts_->model.log_probabilities(hidden, dca_lm::positions_from(first));
    result.insert(result.end(), scores.data(), scores.data() + scores.size());
  }
  return result;
}

std::vector<double> OpenModel::negative_log_likelihoods(const Choice& choice, const std::vector<Token>& tokens) const {
  const dca_lm::Attention attention = parts_->attention(choice);
  const auto room = static_cast<std::ptrdiff_t>(tokens.size()) + 1;
  dca_lm::Session session(parts_->model, attention, parts_->executor, {.tokens = room}, storage_of(choice));
  return dca_lm::negative_log_likelihoods(session, tokens, [](double) {});
}

}  // namespace dca_lm_test
