// What OpenModel holds, for tests that use the program's classes themselves.
#pragma once

#include "open_model.hpp"
#include "session.hpp"

namespace dca_lm_test {

inline dca_lm::KvStorage storage_of(const Choice& choice) {
  return {dca_lm::kv_type_of(choice.kv_type), dca_lm::key_offset_of(choice.key_offset)};
}

struct OpenModel::Parts {
  Parts(const std::string& path, int count)
      : threads(count), executor(threads.executor()), file(path), tokenizer(file), model(file, executor) {}

  dca_lm::Attention attention(const Choice& choice) const {
    return {{choice.name, choice.chunk_size, choice.local_window, choice.rope_scale, choice.sinks, choice.window,
             choice.group},
            model.config().rope};
  }

  dca::compiled::Threads threads;
  dca::Executor executor;
  dca_lm::GgufFile file;
  dca_lm::Tokenizer tokenizer;
  dca_lm::LlamaModel model;
};

}  // namespace dca_lm_test
