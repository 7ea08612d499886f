"""script/compile-times: its table, its JSON, and what it refuses."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "script" / "compile-times"
DCA, EIGEN = "#include <dca/dca.hpp>", "Eigen alone"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=300)


class CompileTimes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.json = self.folder / "times.json"

    def make_compiler(self, text):
        """A program in a compiler's place, whose last argument is the file."""
        path = self.folder / "compiler"
        path.write_text(f"#!/bin/sh\nfor file; do :; done\n{text}\n")
        path.chmod(0o755)
        return path

    def rows(self):
        return json.loads(self.json.read_text())["rows"]

    def test_a_file_is_compiled_and_compared(self):
        # In the environment's compiler, which only reads it here.
        ran = run("--only", DCA, "--flags=-fsyntax-only", "--runs", 1, "--json", self.json)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        eigen, dca = self.rows()
        self.assertEqual((eigen["file"], eigen["beside"], eigen["more"]), (EIGEN, None, None))
        self.assertEqual((dca["file"], dca["beside"]), (DCA, EIGEN))
        self.assertGreater(eigen["seconds"], 0)
        self.assertAlmostEqual(dca["more"], dca["seconds"] - eigen["seconds"], delta=0.011)
        lines = ran.stdout.splitlines()
        self.assertEqual(lines[1].split(), ["file", "seconds", "more", "than"])
        self.assertEqual(lines[2].split(), ["Eigen", "alone", f"{eigen['seconds']:.2f}"])
        self.assertEqual(lines[3], f"{DCA} {dca['seconds']:8.2f} {dca['more']:7.2f}  {EIGEN}")

    def test_every_file_is_compiled_in_every_run(self):
        log = self.folder / "log"
        ran = run("--compiler", self.make_compiler(f'basename "$file" >>"{log}"'), "--runs", 3, "--json", self.json)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        names = [row["file"] for row in self.rows()]
        self.assertIn("examples/quickstart.cpp", names)
        self.assertIn("examples/language_model/layer_cache.cpp", names)
        self.assertEqual(len(names), len(set(names)))
        width = max(map(len, names))
        for row in self.rows():
            self.assertIn(row["beside"], [None, *names])
        compiled = log.read_text().split()
        self.assertEqual(len(set(compiled)), len(names))
        self.assertEqual(sorted(compiled), sorted(3 * list(set(compiled))))
        self.assertEqual([line[:width].rstrip() for line in ran.stdout.splitlines()[2:]], names)

    def test_a_chosen_file_brings_all_that_it_is_compared_with(self):
        compiler = self.make_compiler("")
        ran = run("--compiler", compiler, "--only", "one more selection", "--json", self.json)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertEqual([row["file"] for row in self.rows()],
                         [EIGEN, "an operator in float", "the first selection", "one more selection"])

    def test_the_least_of_the_runs_counts(self):
        # Slow in every run of a file but the second.
        slow = ('echo >>"$file.runs"; [ $(wc -l <"$file.runs") -eq 2 ] && exit\n'
                'k=0; while [ $k -lt 200000 ]; do k=$((k + 1)); done')
        seconds = []
        for runs in (1, 3):
            ran = run("--compiler", self.make_compiler(slow), "--only", EIGEN, "--runs", runs, "--json", self.json)
            self.assertEqual((ran.returncode, ran.stderr), (0, ""))
            seconds.append(self.rows()[0]["seconds"])
        self.assertGreater(seconds[0], 2 * seconds[1])

    def test_more_is_what_a_file_takes_beyond_the_other(self):
        slow = 'k=0; grep -q dca.hpp "$file" && while [ $k -lt 200000 ]; do k=$((k + 1)); done; :'
        ran = run("--compiler", self.make_compiler(slow), "--only", DCA, "--json", self.json)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        eigen, dca = self.rows()
        self.assertGreater(dca["more"], 2 * eigen["seconds"])

    def test_a_file_that_does_not_compile_fails(self):
        self.json.write_text("before")
        ran = run("--compiler", self.make_compiler("echo 'no such header' >&2; exit 1"), "--json", self.json)
        self.assertEqual((ran.returncode, ran.stdout), (1, ""))
        said = ran.stderr.splitlines()
        self.assertEqual(said[0], "no such header")
        self.assertRegex(said[1], r"^compile-times: .*/compiler .* failed$")
        self.assertEqual(len(said), 2)
        self.assertEqual(self.json.read_text(), "before")

    def test_bad_options_are_refused_in_a_line(self):
        compiler = self.make_compiler(f": >'{self.folder / 'ran'}'")
        for arguments, message in (
            (("--runs", "0"), "argument --runs: '0': must be a whole number, 1 or more"),
            (("--runs", "two"), "argument --runs: 'two': must be a whole number, 1 or more"),
            (("--only", "nothing of the kind"), "argument --only: 'nothing of the kind': in the name of no file"),
            (("--compiler", "/no/such"), "argument --compiler: '/no/such': no such program"),
            (("--include", "/no/such"), "argument --include: '/no/such': has no dca/dca.hpp"),
            (("--json", "/no/such/times.json"), "argument --json: '/no/such/times.json': cannot be written: "
             "No such file or directory"),
            (("--colour",), "unrecognized arguments: --colour"),
        ):
            with self.subTest(arguments):
                ran = run("--compiler", compiler, *arguments)
                self.assertEqual((ran.returncode, ran.stdout), (2, ""))
                self.assertEqual(ran.stderr.splitlines()[-1], f"compile-times: error: {message}")
                self.assertNotIn("Traceback", ran.stderr)
        self.assertFalse((self.folder / "ran").exists())


if __name__ == "__main__":
    unittest.main()
