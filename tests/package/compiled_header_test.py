"""compiled_header_test.py CLIENT INCLUDE COMPILER...: what a file that includes the compiled operator holds of it."""

import pathlib
import subprocess
import sys
import tempfile


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(path):
    """(letter, plain name) of each symbol of an object."""
    return [line[17:].split(" ", 1) for line in run("nm", "-C", path).splitlines()]


def main():
    client, include, *compiler = sys.argv[1:]
    failures = []
    headers = run(*compiler, "-std=c++20", f"-I{include}", "-M", client).split()
    failures += [f"includes {header}" for header in headers if "Eigen" in header or "/dca/kernel" in header]
    if not any(header.endswith("dca/compiled.hpp") for header in headers):
        failures.append("does not include dca/compiled.hpp")
    for level in ("-O0", "-O2"):
        with tempfile.TemporaryDirectory() as folder:
            made = str(pathlib.Path(folder) / "client.o")
            run(*compiler, "-std=c++20", level, f"-I{include}", "-c", client, "-o", made)
            found = symbols(made)
            if not any(name.startswith("dca::compiled::Attention::operator()") for _, name in found):
                failures.append(f"{level}: does not call the operator")
            # A linker may take these from any file, whatever it was compiled for.
            weak = [name for letter, name in found if letter in "WVu" and name.startswith("dca::")]
            failures += [f"{level}: weak symbol {name}" for name in weak]
    print("\n".join(failures) or "no Eigen, no kernel, no weak symbol of the library's")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
