"""Files of results: whole or untouched, and refused before the work."""

import argparse
import os
import pathlib
import stat
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "script"))
from common import options, result_file


class Written(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = self.folder / "results.json"

    def test_text_and_bytes_replace_what_was_there(self):
        for content, expected in (("\u20ac\n", b"\xe2\x82\xac\n"), (b"\xff\x00", b"\xff\x00")):
            result_file.write(self.path, content)
            self.assertEqual(self.path.read_bytes(), expected)
            self.assertEqual(os.listdir(self.folder), ["results.json"])

    def test_a_write_that_fails_leaves_what_was_there(self):
        self.path.write_text("before")
        for call in ("fsync", "replace"):
            with mock.patch.object(os, call, side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
                result_file.write(self.path, "after")
            self.assertEqual(self.path.read_text(), "before")
            self.assertEqual(os.listdir(self.folder), ["results.json"])

    def test_modes_are_kept_and_new_files_have_that_of_any_new_file(self):
        any_new = self.folder / "any"
        any_new.touch()
        result_file.write(self.path, "x")
        self.assertEqual(self.path.stat().st_mode, any_new.stat().st_mode)
        self.path.chmod(0o640)
        result_file.write(self.path, "y")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_a_link_goes_on_pointing_to_its_file(self):
        link = self.folder / "link"
        link.symlink_to(self.path)
        result_file.write(link, "x")
        self.assertTrue(link.is_symlink())
        self.assertEqual(self.path.read_text(), "x")

    def test_a_pipe_is_written_to(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        result_file.check(pipe)
        result_file.write(pipe, "x")
        self.assertEqual(os.read(reader, 9), b"x")


class Options(unittest.TestCase):
    def test_files_that_cannot_be_written_are_refused_and_others_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            there = pathlib.Path(folder, "there")
            there.write_text("before")
            self.assertEqual(options.output_file(str(there)), str(there))
            self.assertEqual(options.output_file(folder + "/new"), folder + "/new")
            self.assertEqual(os.listdir(folder), ["there"])
            self.assertEqual(there.read_text(), "before")
            os.mkfifo(folder + "/pipe")  # without a reader
            for path in (folder, folder + "/no/such", folder + "/pipe"):
                with self.assertRaisesRegex(argparse.ArgumentTypeError, "cannot be written"):
                    options.output_file(path)

    def test_inputs_are_regular_files(self):
        self.assertEqual(options.input_file(__file__), __file__)
        with self.assertRaisesRegex(argparse.ArgumentTypeError, "'/dev/null': not a regular file"):
            options.input_file("/dev/null")

    def test_counts_are_whole_and_at_least_one(self):
        self.assertEqual(options.count("12"), 12)
        for text in ("0", "-1", "1.5", "1_0", "\u0661", "1" * 10, "x", ""):
            with self.assertRaisesRegex(argparse.ArgumentTypeError, "must be a whole number, 1 or more"):
                options.count(text)

    def test_numbers_are_finite_and_large_enough(self):
        self.assertEqual(options.number_from(0)("0.5"), 0.5)
        for text in ("-1", "nan", "inf", "x", ""):
            with self.assertRaisesRegex(argparse.ArgumentTypeError, "must be a number, 0 or more"):
                options.number_from(0)(text)


if __name__ == "__main__":
    unittest.main()
