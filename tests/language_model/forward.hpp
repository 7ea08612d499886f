// A Llama model by its definition, in double, from a file's weights. Takes nothing from the program under test.
#pragma once

#include "support/reference.hpp"
#include "tiny_model.hpp"

namespace dca_lm_test {

/// Where keys and queries are placed and how they turn.
struct AttentionByDefinition {
  dca_test::reference::PositionMatrix positions = dca_test::reference::causal();
  dca_test::reference::Rope rope;
};

/// Natural logs of the probabilities of every token of the vocabulary after each of `tokens`: [tokens, vocabulary].
/// `model` is a file of make_tiny_model(sizes, ...).
dca_test::Array log_probabilities_by_definition(GgufContents& model, const TinySizes& sizes,
                                                const std::vector<std::int32_t>& tokens,
                                                const AttentionByDefinition& attention);

}  // namespace dca_lm_test
