"""Writes the table of functions in docs/c.md from the comments of include/dca/c/dca.h.

    c_table.py [--check]

A function's line is the first sentence of its comment. With --check nothing is written, and it fails unless the table is
that of the header.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEADER = ROOT / "include" / "dca" / "c" / "dca.h"
PAGE = ROOT / "docs" / "c.md"
BEGIN, END = "<!-- Made by c_table.py from dca.h. -->\n", "<!-- The end of what c_table.py makes. -->\n"


def functions(header):
    """(heading, name, first sentence) of each function."""
    heading = ""
    pattern = r"/\* ---- (.*?) ---- \*/|/\*((?:[^*]|\*(?!/))*)\*/\n(?:const )?\w+\*? (dca_\w+)\("
    for section, comment, name in re.findall(pattern, header):
        if section:
            heading = section
            continue
        text = " ".join(re.sub(r"^ \* ?", " ", comment, flags=re.MULTILINE).split())
        yield heading, name, re.match(r".*?\.(?= |$)", text)[0]


def table(header):
    lines, last = [], None
    for heading, name, sentence in functions(header):
        if heading != last:
            lines += ["", f"**{heading}**", "", "| | |", "| --- | --- |"]
            last = heading
        lines.append(f"| `{name}` | {sentence.replace('|', chr(92) + '|').replace('*', chr(92) + '*')} |")
    return "\n".join(lines[1:]) + "\n"


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    header, page = HEADER.read_text(encoding="utf-8"), PAGE.read_text(encoding="utf-8")
    declared = re.findall(r"\b(dca_\w+)\((?!\*)", re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL))
    found = [name for _, name, _ in functions(header)]
    if missing := sorted(set(declared) - set(found)):
        sys.exit(f"without a comment: {', '.join(missing)}")
    before, _, rest = page.partition(BEGIN)
    made = before + BEGIN + "\n" + table(header) + "\n" + END + rest.partition(END)[2]
    if made == page:
        print(f"{len(found)} functions")
    elif sys.argv[1:]:
        sys.exit("the table in docs/c.md is not that of dca.h: run docs/c_table.py")
    else:
        PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
