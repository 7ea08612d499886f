// A file in memory that can be opened by its path.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "fuzz/target.hpp"

namespace dca_fuzz {

class MemoryFile {
 public:
  explicit MemoryFile(const std::string& bytes) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    require(descriptor_ >= 0, "no memory for a file");
    for (std::size_t done = 0; done < bytes.size();) {
      const ::ssize_t written = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
      require(written > 0, "no memory for a file's bytes");
      done += static_cast<std::size_t>(written);
    }
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace dca_fuzz
