// Many prompts about one long text: what those that find a passkey or a needle share.
#pragma once

#include "session.hpp"

namespace dca_lm {

/// `count` depths spread evenly from 0.1 to 0.9; 0.5 alone for one. count >= 1.
std::vector<double> even_depths(Index count);

/// Places of hidden things in the order in which their prompts share the longest beginnings: the deepest first.
/// Returns indices of `depths`.
std::vector<std::size_t> deepest_first(std::span<const double> depths);

/// The work of reading the tokens at positions [from, to) of a text, to compare: multiplications of a token in one
/// layer, and those with every key before it, over those with one key.
double reading_work(const LlamaConfig& config, Index from, Index to);

/// Called for prompt k of several, with the tokens of it that the session has not read: at least one.
using AnswerPrompt = std::function<void(std::size_t k, std::span<const Token> left, const ProgressCallback& progress)>;

/// Answers prompts in turn, from an empty session. What a prompt has in common with the one before stays in the session
/// and is not read again. Prompts must not be empty.
void answer_in_turn(Session& session, std::span<const std::vector<Token>> prompts, const AnswerPrompt& answer,
                    const ProgressCallback& progress);

}  // namespace dca_lm
