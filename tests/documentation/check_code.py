"""Fails unless every C or C++ block of the given Markdown files stands word for word in one of the sources.

    check_code.py ROOT

The Markdown is README.md and docs/*.md; the sources are the compiled examples and tests/documentation/*.cpp. White space
does not count.
"""

import pathlib
import re
import sys
import textwrap


def words(text):
    return " ".join(text.split())


def main():
    root = pathlib.Path(sys.argv[1])
    sources = [*root.glob("examples/**/*.[ch]pp"), *root.glob("examples/*.c"), *root.glob("tests/documentation/*.cpp")]
    texts = [words(path.read_text(encoding="utf-8")) for path in sources]
    blocks = missing = 0
    for page in [root / "README.md", *sorted(root.glob("docs/*.md"))]:
        for block in re.findall(r"^```(?:cpp|c)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            blocks += 1
            if not any(words(block) in text for text in texts):
                missing += 1
                print(f"{page.relative_to(root)}: in no source:\n{textwrap.indent(block, '  ')}")
    if missing:
        sys.exit(f"{missing} of {blocks} blocks are in no compiled source")
    print(f"{blocks} blocks of C and C++, all compiled")


if __name__ == "__main__":
    main()
