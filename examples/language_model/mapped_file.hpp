// A file as a span of bytes.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace dca_lm {

/// A regular file mapped into memory for reading, until the end of its scope. A file that another program shortens
/// meanwhile ends this one with SIGBUS: that is how mmap reports it.
class MappedFile {
 public:
  /// Throws Error where `path` cannot be opened, is no regular file or is empty.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace dca_lm
