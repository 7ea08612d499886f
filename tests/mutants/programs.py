"""Small test programs: the sources that a mutant changes are compiled for each, the others once."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
# Of the scalars of a TEMPLATE_TEST_CASE one is enough, and takes half the time.
ONE_SCALAR = """#include "support/catch.hpp"
#undef TEMPLATE_TEST_CASE
#define TEMPLATE_TEST_CASE(name, tags, ...) \\
  using TestType = SCALAR;                  \\
  TEST_CASE(name, tags)
"""
PRECOMPILED = """#define EIGEN_USE_THREADS
#include <unsupported/Eigen/CXX11/Tensor>
#include "support/catch.hpp"
"""
SUPPORT = ["support/npy.cpp", "support/reference.cpp", "support/catch_main.cpp"]


class BuildError(Exception):
    pass


def read_table():
    return json.loads((TESTS / "mutants" / "programs.json").read_text())


def test_names(source):
    return re.findall(r'TEST_CASE\(\s*"((?:[^"\\]|\\.)*)"', (TESTS / source).read_text())


def matching(patterns, names):
    """Those of `names` that Catch2 takes for one of the patterns, which may begin and end with *."""
    found = []
    for name in names:
        for pattern in patterns:
            core = re.escape(pattern.strip("*"))
            text = (".*" if pattern.startswith("*") else "") + core + (".*" if pattern.endswith("*") else "")
            if re.fullmatch(text, name):
                found.append(name)
                break
    return found


def cpu_flags():
    """AVX2 where there is one, so that the same code is tested on most machines."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split()
    except (OSError, TypeError):
        return []
    return ["-mavx2", "-mfma", "-mf16c"] if {"avx2", "fma", "f16c"} <= set(flags) else []


class Builder:
    """Compiles and links in a scratch folder."""

    def __init__(self, scratch, eigen, catch2, processes):
        self.table = read_table()
        self.scratch, self.processes = pathlib.Path(scratch), processes
        self.compiler = shlex.split(os.environ.get("CXX", "g++"))
        includes = [f"-I{TESTS}", f"-I{ROOT / 'examples'}"]
        for folder in (eigen, catch2):
            includes += ["-isystem", folder] if folder else []
        self.flags = ["-std=c++20", "-O1", "-w", *cpu_flags(), *includes]
        self.libraries = ["-pthread"]
        if self._accepts("#include <catch2/catch_all.hpp>\n"):
            self.libraries.insert(0, "-lCatch2")
        self.objects = {}  # (unit, scalar) -> path, of what is not mutated

    def _accepts(self, text):
        result = subprocess.run([*self.compiler, *self.flags, "-E", "-x", "c++", "-o", os.devnull, "-"], input=text,
                                capture_output=True, text=True, check=False)
        return result.returncode == 0

    def run(self, command, timeout=900):
        result = self.processes.run(command, timeout)
        if result.returncode != 0:
            raise BuildError(result.stdout[-4000:])

    def precompile(self):
        header = self.scratch / "precompiled.hpp"
        header.write_text(PRECOMPILED)
        for scalar in ("float", "double"):
            (self.scratch / f"{scalar}.hpp").write_text(ONE_SCALAR.replace("SCALAR", scalar))
        self.run([*self.compiler, *self.flags, "-x", "c++-header", str(header), "-o", f"{header}.gch"])

    def compile(self, unit, scalar, include, target):
        """Object of a unit: a test's source, or an instantiation of the table."""
        source = TESTS / unit
        before = [f"-DSCALAR={scalar}", "-include", str(self.scratch / "precompiled.hpp"), f"-I{include}"]
        if unit in SUPPORT:
            before = ["-O0"] if unit.endswith("catch_main.cpp") else []
        elif unit in self.table["units"]:
            source = pathlib.Path(target).with_suffix(".cpp")
            source.write_text('#include "support/attend_definition.hpp"\n#include "support/attend_source_definition.hpp"\n'
                              f"namespace dca_test {{\n{self.table['units'][unit].replace('SCALAR', scalar)}\n}}\n")
        else:
            before += ["-include", str(self.scratch / f"{scalar}.hpp")]
        self.run([*self.compiler, *self.flags, *before, "-c", str(source), "-o", str(target)])

    def compile_fixed(self, unit, scalar):
        target = self.scratch / (re.sub(r"\W", "_", unit) + f"_{scalar}.o")
        self.compile(unit, scalar, ROOT / "include", target)
        self.objects[unit, scalar] = target

    def fixed_units(self, names):
        """What must be compiled once for these programs: all of it, since each is tried unchanged first."""
        units = {(unit, "float") for unit in SUPPORT}
        for name in names:
            program = self.table["programs"][name]
            scalar = program.get("scalar", "float")
            units |= {(unit, scalar) for unit in [*program["mutated"], *program.get("fixed", [])]}
        return sorted(units)

    def link(self, name, mutated, target):
        """`mutated` has {unit: object} for units that are not the unchanged ones. They come first: of inline functions
        the linker takes the first that it finds. Operators that no chosen test calls may be missing."""
        program = self.table["programs"][name]
        scalar = program.get("scalar", "float")
        objects = [mutated.get(unit, self.objects.get((unit, scalar))) for unit in program["mutated"]]
        objects += [self.objects[unit, scalar] for unit in program.get("fixed", [])]
        objects += [self.objects[unit, "float"] for unit in SUPPORT]
        self.run([*self.compiler, "-no-pie", "-Wl,--unresolved-symbols=ignore-all", *map(str, objects), "-o",
                  str(target), *self.libraries])

    def build_mutant(self, program, files, folder):
        """The program with changed files of include/, {path below include: text}."""
        include = folder / "include"
        shutil.copytree(ROOT / "include", include)
        for path, text in files.items():
            (include / path).write_text(text)
        spec = self.table["programs"][program]
        mutated = {}
        for unit in spec["mutated"]:
            mutated[unit] = folder / (re.sub(r"\W", "_", unit) + ".o")
            self.compile(unit, spec.get("scalar", "float"), include, mutated[unit])
        self.link(program, mutated, folder / "test")
        return folder / "test"

    def run_tests(self, executable, patterns, seed, timeout):
        """(what became of it, seconds): passed, failed: TEST, crashed, timeout or no tests."""
        names = ",".join(pattern.replace(",", "\\,") for pattern in patterns)
        begin = time.monotonic()
        try:
            result = self.processes.run([str(executable), *([names] if names else []), "--abort", "--rng-seed",
                                         str(seed)], timeout)
        except subprocess.TimeoutExpired:
            return "timeout", time.monotonic() - begin
        seconds = time.monotonic() - begin
        if "No test cases matched" in result.stdout or "No tests ran" in result.stdout:
            return "no tests", seconds
        if result.returncode == 0:
            return "passed", seconds
        if result.returncode < 0:
            return f"crashed: signal {-result.returncode}", seconds
        failed = re.search(r"^-{20,}\n(.+?)\n-{20,}$", result.stdout, re.MULTILINE | re.DOTALL)
        if "SIGSEGV" in result.stdout or "SIGABRT" in result.stdout:
            return "crashed: " + (failed[1].split("\n")[0] if failed else "?"), seconds
        return "failed: " + (failed[1].split("\n")[0] if failed else "?"), seconds
