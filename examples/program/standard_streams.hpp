// Standard streams: none of them closed, and what is written to them not lost in silence.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

namespace program {

/// Opens /dev/null for closed standard streams; else the next file opened would receive our output.
inline void hold_standard_streams() {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (::fcntl(stream, F_GETFD) < 0 && ::open("/dev/null", O_RDONLY) != stream) return;
  }
}

/// The program's exit code: `code`, or 1 with a line on stderr where standard output has not taken all, as on a full
/// disk.
inline int finish_output(const char* name, int code) {
  errno = 0;
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  if (flushed && std::cout && std::ferror(stdout) == 0) return code;
  std::cerr << name << ": standard output cannot be written" << (errno != 0 ? ": " : "")
            << (errno != 0 ? std::strerror(errno) : "") << "\n";
  return code != 0 ? code : 1;
}

}  // namespace program
