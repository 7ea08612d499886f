// Files of results: known to be writable before the work, whole or untouched after it.
#include "program/result_file.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "support/catch.hpp"
#include "temp_file.hpp"

using namespace dca_lm_test;
using dca_test::contains;
using program::ResultFile;
namespace fs = std::filesystem;

namespace {

/// A folder of its own, so that what is left behind in it is seen.
struct Folder {
  Folder() : path(fs::temp_directory_path() / ("dca_results_" + std::to_string(::getpid()))) {
    fs::create_directory(path);
  }
  ~Folder() { fs::remove_all(path); }

  std::string file(const std::string& name) const { return (path / name).string(); }
  std::ptrdiff_t entries() const { return std::distance(fs::directory_iterator(path), fs::directory_iterator()); }

  fs::path path;
};

void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// What making a ResultFile, or writing to it, throws.
std::string refusal(const std::string& path, const std::string& text = "new") {
  try {
    ResultFile("--json", path).write(text);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

/// Until the end of its scope files cannot grow beyond so many bytes.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limited = before_;
    limited.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("what was in a file of results stays until the new content is there as a whole") {
  const Folder folder;
  const std::string path = folder.file("results.json");
  put(path, "old");
  {
    const ResultFile results("--json", path);
    CHECK(content(path) == "old");
    CHECK(folder.entries() == 1);
    results.write("first");
    CHECK(content(path) == "first");
    results.write("new");
  }
  CHECK(content(path) == "new");
  CHECK(folder.entries() == 1);
  CHECK(refusal("", "none is asked for") == "no error");
}

TEST_CASE("what was in a file of results stays where the new content cannot be written") {
  const Folder folder;
  const std::string path = folder.file("results.json");
  put(path, "old");
  {
    const FileLimit limit(1000);
    CHECK_THAT(refusal(path, std::string(5000, 'x')),
               contains("--json " + path + ": cannot be written: File too large"));
  }
  CHECK(content(path) == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("places where no file of results can be are refused before anything is written") {
  const Folder folder;
  const auto refused = [](const std::string& path) {
    try {
      const ResultFile results("--json", path);
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  CHECK_THAT(refused(folder.file("none/results.json")), contains("results.json: cannot be written: No such file"));
  CHECK_THAT(refused(folder.path.string()), contains("Is a directory"));
  CHECK_THAT(refused(folder.file("none/")), contains("cannot be written"));
  CHECK_THAT(refused(folder.file(std::string(300, 'n'))), contains("File name too long"));
  const std::string pipe = folder.file("pipe");  // nobody reads from it
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THAT(refused(pipe), contains("pipe: cannot be written"));
  fs::create_symlink("loop", folder.file("loop"));
  CHECK_THAT(refused(folder.file("loop")), contains("cannot be written"));
  CHECK_THAT(refused(folder.file("a\x1b[31m\xff/b")), contains("a\\x1b[31m\\xff/b: cannot be written"));
  CHECK(folder.entries() == 2);
}

TEST_CASE("a file of results keeps its links and its mode") {
  const Folder folder;
  const std::string path = folder.file("results.json"), link = folder.file("link"), dangling = folder.file("dangling");
  put(path, "old");
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write | fs::perms::others_read);
  fs::create_symlink("results.json", link);
  fs::create_symlink("later.json", dangling);
  CHECK(refusal(link) == "no error");
  CHECK(fs::is_symlink(link));
  CHECK(content(path) == "new");
  CHECK(fs::status(path).permissions() == (fs::perms::owner_read | fs::perms::owner_write | fs::perms::others_read));
  CHECK(refusal(dangling) == "no error");
  CHECK(fs::is_symlink(dangling));
  CHECK(content(folder.file("later.json")) == "new");
}

TEST_CASE("what is no regular file is written to directly") {
  if (fs::exists("/dev/full")) CHECK_THAT(refusal("/dev/full"), contains("No space left on device"));
  CHECK(refusal("/dev/null") == "no error");
  const Folder folder;
  const std::string pipe = folder.file("pipe");
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  CHECK(refusal(pipe, "through a pipe") == "no error");
  std::array<char, 64> text{};
  const auto count = ::read(reader, text.data(), text.size());
  ::close(reader);
  CHECK(std::string(text.data(), static_cast<std::size_t>(std::max<decltype(count)>(count, 0))) == "through a pipe");
  CHECK(folder.entries() == 1);
}
