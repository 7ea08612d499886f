// Files that tests write.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace dca_lm_test {

/// A file in the system's folder for temporary files, removed at the end of its scope.
class TempFile {
 public:
  explicit TempFile(const std::string& bytes)
      : path_((std::filesystem::temp_directory_path() / "dca_lm_XXXXXX").string()) {
    const int descriptor = ::mkstemp(path_.data());
    if (descriptor < 0) throw std::runtime_error("no temporary file can be made");
    ::close(descriptor);
    write(bytes);
  }
  ~TempFile() { ::unlink(path_.c_str()); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;

  const std::string& path() const { return path_; }

  /// Writes `bytes` over what lies from `offset` on.
  void write(const std::string& bytes, std::size_t offset = 0) const {
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
    if (!file.flush()) throw std::runtime_error(path_ + " cannot be written");
  }

  void cut(std::size_t length) const { std::filesystem::resize_file(path_, length); }

  std::string read() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

 private:
  std::string path_;
};

}  // namespace dca_lm_test
