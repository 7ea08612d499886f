"""Test programs of one source each, compiled from changed headers, kernels included."""
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
        self.scratch, self.processes = pathlib.Path(scratch), processes
        self.compiler = shlex.split(os.environ.get("CXX", "g++"))
        includes = [f"-I{TESTS}", f"-I{ROOT / 'examples'}"]
        for folder in (eigen, catch2):
            includes += ["-isystem", folder] if folder else []
        self.flags = ["-std=c++20", "-O1", "-w", *cpu_flags(), *includes]
        self.libraries = ["-pthread"]
        if self._accepts("#include <catch2/catch_all.hpp>\n"):
            self.libraries.insert(0, "-lCatch2")
        self.support = []  # objects

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

    def compile_support(self, source):
        target = self.scratch / (pathlib.Path(source).stem + ".o")
        level = ["-O0"] if source.endswith("catch_main.cpp") else []
        self.run([*self.compiler, *self.flags, *level, "-c", str(TESTS / source), "-o", str(target)])
        self.support.append(target)

    def build(self, source, scalar, include, target):
        """The program of a test source, with the headers of `include`."""
        compiled = pathlib.Path(f"{target}.o")
        self.run([*self.compiler, *self.flags, f"-DSCALAR={scalar}", "-include", str(self.scratch / "precompiled.hpp"),
                  "-include", str(self.scratch / f"{scalar}.hpp"), f"-I{include}", "-c", str(TESTS / source), "-o",
                  str(compiled)])
        self.run([*self.compiler, "-no-pie", *map(str, [compiled, *self.support]), "-o", str(target), *self.libraries])
        return target

    def build_whole(self, source, scalar):
        return self.build(source, scalar, ROOT / "include", self.scratch / f"{pathlib.Path(source).stem}_{scalar}")

    def build_mutant(self, source, scalar, files, folder):
        """The program with changed files of include/, {path below include: text}."""
        include = folder / "include"
        shutil.copytree(ROOT / "include", include)
        for path, text in files.items():
            (include / path).write_text(text)
        return self.build(source, scalar, include, folder / "test")

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
