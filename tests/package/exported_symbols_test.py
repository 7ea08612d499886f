"""exported_symbols_test.py NM LIST FILE...: whether what these objects define for others is what a list says.

A name that goes, or comes, is a change for those who link the library: change the list with it, and say so in
CHANGELOG.md.
"""

import pathlib
import subprocess
import sys


def main():
    nm, expected, *files = sys.argv[1:]
    lines = subprocess.run([nm, "-g", "-C", "--defined-only", *files], check=True, capture_output=True, text=True).stdout
    found = {line[19:] for line in lines.splitlines() if len(line) > 19}
    expected = {line for line in pathlib.Path(expected).read_text().splitlines() if line and not line.startswith("#")}
    for name in sorted(found - expected):
        print(f"new: {name}")
    for name in sorted(expected - found):
        print(f"gone: {name}")
    print(f"{len(found)} names")
    return 0 if found == expected else 1


if __name__ == "__main__":
    sys.exit(main())
