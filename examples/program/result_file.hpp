// Files of results that are replaced only when the new content is complete.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "program/printable.hpp"

namespace program {

/// A result file: checked on construction, replaced only when complete (temporary file beside it, then rename). Keeps
/// mode and links. Pipes, devices, and files whose folder allows no new file are written in place.
class ResultFile {
 public:
  /// `option` is what named it, for messages; an empty path, none. Throws std::runtime_error "option path: reason".
  ResultFile(std::string option, const std::string& path) : option_(std::move(option)), path_(path), place_(path) {
    if (path.empty()) return;
    struct stat there {};
    const bool exists = ::stat(path.c_str(), &there) == 0;
    if (!exists && errno != ENOENT) fail(errno);
    if (exists && S_ISDIR(there.st_mode)) fail(EISDIR);
    if (place_.filename().empty()) fail(ENOENT);
    if (exists && (!S_ISREG(there.st_mode) || is_descriptor(there))) {
      open_directly(there);
      return;
    }
    // The file that a chain of links ends at, there or not; what is too long a chain has failed above.
    std::error_code error;
    while (std::filesystem::is_symlink(place_, error)) {
      place_ = place_.parent_path() / std::filesystem::read_symlink(place_);
    }
    if (exists && ::access(place_.c_str(), W_OK) != 0) fail(errno);
    std::string name;
    if (const int file = make_beside(name); file >= 0) {
      ::close(file);
      ::unlink(name.c_str());
    } else if (exists && (errno == EACCES || errno == EPERM || errno == EROFS)) {
      overwrites_ = true;
      directly_ = ::open(place_.c_str(), O_WRONLY | O_CLOEXEC);
      if (directly_ < 0) fail(errno);
    } else {
      fail(errno);
    }
  }
  ~ResultFile() {
    if (directly_ >= 0) ::close(directly_);
  }
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  /// Whether there is one to write.
  bool wanted() const { return !path_.empty(); }

  /// The file's new content. Throws as the constructor does; then what was there before is still there, but for a file
  /// that is written in place.
  void write(std::string_view text) const {
    if (!wanted()) return;
    if (directly_ >= 0) {
      std::fflush(stdout);  // which may be the same
      if ((overwrites_ && ::ftruncate(directly_, 0) != 0) || !write_all(directly_, text)) fail(errno);
      return;
    }
    std::string name;
    const int file = make_beside(name);
    if (file < 0) fail(errno);
    struct stat there {};
    if (::stat(place_.c_str(), &there) == 0) {
      // Another's file stays another's where the system allows it.
      if (::fchown(file, there.st_uid, there.st_gid) != 0) errno = 0;
      ::fchmod(file, there.st_mode & 0777);
    }
    bool written = write_all(file, text) && ::fsync(file) == 0;
    int error = errno;
    if (::close(file) != 0 && written) {
      written = false;
      error = errno;
    }
    if (written && ::rename(name.c_str(), place_.c_str()) != 0) {
      written = false;
      error = errno;
    }
    if (written) return;
    ::unlink(name.c_str());
    fail(error);
  }

 private:
  [[noreturn]] void fail(int error) const {
    throw std::runtime_error(option_ + " " + printable(path_) + ": cannot be written: " + std::strerror(error));
  }

  static bool same(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

  /// Whether the path names a file that is already open here, such as stdout.
  bool is_descriptor(const struct stat& there) const {
    for (const char* folder : {"/dev/fd/", "/dev/std", "/proc/"}) {
      if (path_.starts_with(folder)) return true;
    }
    struct stat out {};
    return ::fstat(STDOUT_FILENO, &out) == 0 && same(out, there);
  }

  void open_directly(const struct stat& there) {
    struct stat out {};
    if (::fstat(STDOUT_FILENO, &out) == 0 && same(out, there)) {
      directly_ = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);  // and so at the place that it has come to
    } else {
      // A pipe without a reader is refused instead of waited for; later writes do wait.
      directly_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC);
      if (directly_ >= 0) ::fcntl(directly_, F_SETFL, ::fcntl(directly_, F_GETFL) & ~O_NONBLOCK);
    }
    if (directly_ < 0) fail(errno);
  }

  /// A new file in the same folder, and its name; -1 and errno where there can be none.
  int make_beside(std::string& name) const {
    for (int attempt = 0; attempt < 100; ++attempt) {
      const std::string own = ".unfinished-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
      name = (place_.parent_path() / own).string();
      const int file = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (file >= 0 || errno != EEXIST) return file;
    }
    return -1;
  }

  static bool write_all(int file, std::string_view text) {
    while (!text.empty()) {
      const auto count = ::write(file, text.data(), text.size());
      if (count >= 0) {
        text.remove_prefix(static_cast<std::size_t>(count));
      } else if (errno != EINTR) {
        return false;
      }
    }
    return true;
  }

  std::string option_, path_;
  std::filesystem::path place_;  // with links followed
  int directly_ = -1;            // where it is written without a file beside it
  bool overwrites_ = false;      // a regular file, in place
};

}  // namespace program
