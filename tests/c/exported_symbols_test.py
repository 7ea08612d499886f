"""exported_symbols_test.py NM LIBRARY LIST HEADER: whether the library defines for others what a list says, and the
header declares it.

A name that goes, or comes, is a change for those who link the library: change the list with it, and say so in
CHANGELOG.md.
"""

import pathlib
import re
import subprocess
import sys


def main():
    nm, library, names, header = sys.argv[1:]
    lines = subprocess.run([nm, "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    # Sanitizers and coverage add symbols of their own; they begin with two underscores.
    found = {line.split()[-1].split("@")[0] for line in lines.splitlines() if line.strip()}
    found = {name for name in found if not name.startswith("__")}
    expected = {name for name in pathlib.Path(names).read_text().split() if name.startswith("dca_")}
    declared = set(re.findall(r"^[a-z_ ]+\*? ?(dca_\w+)\(", pathlib.Path(header).read_text(), re.MULTILINE))
    for what, left, right in (("new", found, expected), ("gone", expected, found),
                              ("not declared", expected, declared), ("only declared", declared, expected)):
        for name in sorted(left - right):
            print(f"{what}: {name}")
    print(f"{len(found)} names")
    return 0 if found == expected == declared else 1


if __name__ == "__main__":
    sys.exit(main())
