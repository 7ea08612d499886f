"""Files of results: known to be writable before the work, whole or untouched after it; and options that are numbers."""

import argparse
import math
import os
import pathlib
import stat


def _place(path):
    """The file that a link points to, where it is or may be a regular file; None where it is something else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
    except FileNotFoundError:
        pass
    return pathlib.Path(os.path.realpath(path))


def check(path):
    """Throws OSError where `path` cannot be written; leaves what is there as it is."""
    place = _place(path)
    if place is None:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # a folder, or a pipe without a reader, is refused
        return
    if place.exists() and not os.access(place, os.W_OK):
        raise PermissionError(f"{path}: not writable")
    beside = _beside(place)
    beside.touch(exist_ok=False)
    beside.unlink()


def write(path, text):
    """The file's new content: what was there stays until all of it is there."""
    place = _place(path)
    if place is None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
        return
    beside = _beside(place)
    try:
        with open(beside, "x", encoding="utf-8") as file:
            if place.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(place.stat().st_mode))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _beside(place):
    return place.with_name(f".unfinished-{os.getpid()}")


def option(path):
    """For argparse: a file of results, which can be written."""
    try:
        check(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path!r}: cannot be written: {error.strerror or error}") from None
    return path


def input_file(path):
    """For argparse: a regular file. A pipe might keep the program waiting for ever."""
    if not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"{path!r}: not a regular file")
    return path


def number_from(least):
    """For argparse: a number of at least that, and an end."""
    def number(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a number, {least} or more")
        return value
    return number
