"""symbols_test.py NM OBJECT...: whether each object of kernels defines but one visible symbol, its table."""

import pathlib
import subprocess
import sys


def visible_symbols(nm, path):
    lines = subprocess.run([nm, "-g", "--defined-only", path], check=True, capture_output=True, text=True).stdout
    return [line.split()[-1] for line in lines.splitlines() if line.strip()]


def main():
    nm, *objects = sys.argv[1:]
    failures = 0
    for path in objects:
        expected = ["dca_kernels_" + pathlib.Path(path).stem]
        found = visible_symbols(nm, path)
        print(f"{path}: {len(found)} visible symbols")
        if found != expected:
            failures += 1
            print(f"expected {expected}, found {found[:20]}")
    return 1 if failures or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
