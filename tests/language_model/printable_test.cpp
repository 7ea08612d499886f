// What strings from files look like on a terminal.
#include "program/printable.hpp"

#include "support/catch.hpp"

using program::printable;

TEST_CASE("text is printed as it is, and what steers a terminal is written out") {
  const std::string text = "A file, \xc3\xa4 or \xe6\xbc\xa2 or \xf0\x9f\x90\xb3, C:\\x1b";
  CHECK(printable(text) == text);
  CHECK(printable("\x1b[2J\a\r\n\t\x7f") == "\\x1b[2J\\x07\\x0d\\x0a\\x09\\x7f");
  CHECK(printable("a\nb\tc\rd", 100, "\n\t") == "a\nb\tc\\x0dd");
  CHECK(printable("\xc2\x9b"
                  "31m") == "\\u{9b}31m");  // the C1 form of the same
  CHECK(printable("\xe2\x80\xae"
                  "gpj.exe") == "\\u{202e}gpj.exe");  // turned from right to left
  CHECK(printable("\xef\xbb\xbf"
                  "a") == "\\u{feff}a");
  CHECK(printable(std::string_view("\0a", 2)) == "\\x00a");
}

TEST_CASE("bytes that are no UTF-8 are written out") {
  CHECK(printable("\xff\xfe") == "\\xff\\xfe");
  CHECK(printable("a\xc3") == "a\\xc3");
  CHECK(printable("\xc0\xaf") == "\\xc0\\xaf");                    // overlong
  CHECK(printable("\xe0\x80\xaf") == "\\xe0\\x80\\xaf");           // overlong
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");           // a surrogate
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // beyond the last character
  CHECK(printable("\xe6\xbc"
                  "a") ==
        "\\xe6\\xbc"
        "a");
}

TEST_CASE("long strings are cut between characters and say how long they are") {
  CHECK(printable("abcdef", 6) == "abcdef");
  CHECK(printable("abcdef", 5) == "abcde... (6 bytes)");
  CHECK(printable("ab\xc3\xa4", 3) == "ab... (4 bytes)");
  CHECK(printable(std::string(50'000'000, 'x')).size() < 300);
  const std::string once = printable(std::string(100, '\x1b'), 1000);
  CHECK(printable(once, 1000) == once);
}
