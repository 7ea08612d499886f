"""What script/test makes of ctest's results."""

import contextlib
import fnmatch
import io
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "script"))
import test_report

PASSED = '<testcase name="{}" status="run"><system-out>{}</system-out></testcase>'
SKIPPED = '<testcase name="{}" status="notrun"><skipped message="SKIP_RETURN_CODE=4"/><system-out>{}</system-out></testcase>'
NOT_RUN = '<testcase name="{}" status="notrun"><skipped message="Unable to find executable"/></testcase>'
FAILED = '<testcase name="{}" status="fail"><failure message=""/><system-out>{}</system-out></testcase>'


class Counts(unittest.TestCase):
    def count(self, cases, patterns=(), status=0):
        with tempfile.TemporaryDirectory() as folder:
            junit = pathlib.Path(folder, "junit.xml")
            junit.write_text(f"<testsuite>{''.join(cases)}</testsuite>", encoding="utf-8")
            with contextlib.redirect_stdout(io.StringIO()):  # it says SKIPPED:, as a test that was
                row = test_report.count(junit, patterns, status)
        return tuple(row[name] for name in test_report.COUNTS)

    def test_a_skip_that_nobody_allowed_fails(self):
        cases = [PASSED.format("a", ""), SKIPPED.format("b: x", "SKIPPED: no model")]
        self.assertEqual(self.count(cases), (2, 1, 0, 1))
        self.assertEqual(self.count(cases, ["b: *"]), (2, 1, 1, 0))
        self.assertEqual(self.count(cases, ["c: *"]), (2, 1, 0, 1))

    def test_a_test_that_passes_and_says_skipped_is_one(self):
        self.assertEqual(self.count([PASSED.format("a", "SKIPPED: here")]), (1, 0, 0, 1))
        self.assertEqual(self.count([PASSED.format("a", "SKIPPED: here")], ["a"]), (1, 0, 1, 0))

    def test_what_did_not_run_or_failed_is_no_skip(self):
        self.assertEqual(self.count([NOT_RUN.format("a")], ["a"], 8), (1, 0, 0, 1))
        self.assertEqual(self.count([FAILED.format("a", "SKIPPED: here")], ["a"], 8), (1, 0, 0, 1))

    def test_no_test_and_a_ctest_that_failed_are_failures(self):
        self.assertEqual(self.count([]), (0, 0, 0, 1))
        self.assertEqual(self.count([PASSED.format("a", "")], status=8), (1, 1, 0, 1))

    def test_skips_are_allowed_by_condition(self):
        text = "# comment\n\na: * | sanitized | slow\nb | offline | no network\n"
        self.assertEqual(test_report.allowed_skips(text, ["sanitized"]), ["a: *"])
        self.assertEqual(test_report.allowed_skips(text, []), [])
        with self.assertRaises(SystemExit):
            test_report.allowed_skips("a | sanitized\n", [])

    def test_the_list_in_the_repository_can_be_read(self):
        text = test_report.ALLOWED_SKIPS.read_text(encoding="utf-8")
        self.assertIn("dca_golden_shared", test_report.allowed_skips(text, ["alone"]))

    def test_what_the_list_names_exists(self):
        # Names of Catch2's tests: Catch2 2 leaves out the space that Catch2 3 has behind the program.
        tests = pathlib.Path(__file__).resolve().parents[1]
        names = {re.sub(r'"\s*"', "", name) for source in tests.rglob("*.cpp")
                 for name in re.findall(r'TEST_CASE\(\s*"((?:[^"\\]|\\.|"\s*")*)"', source.read_text(encoding="utf-8"))}
        text = test_report.ALLOWED_SKIPS.read_text(encoding="utf-8")
        conditions = ["sanitized", "debug", "offline", "alone", "always"]
        for pattern in test_report.allowed_skips(text, conditions):
            program, colon, _ = pattern.partition(":")
            for space in ("", " ") if colon else ():
                listed = [program + ":" + space + name for name in names]
                self.assertTrue(fnmatch.filter(listed, pattern), pattern)


if __name__ == "__main__":
    unittest.main()
