"""Types of options, for argparse."""

import argparse
import math
import os
import re

from common import result_file


def output_file(path):
    """A file of results, which can be written."""
    try:
        result_file.check(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path!r}: cannot be written: {error.strerror or error}") from None
    return path


def input_file(path):
    """A regular file. A pipe might keep the program waiting for ever."""
    if not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"{path!r}: not a regular file")
    return path


def count(text):
    """A whole number, 1 or more."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, 1 or more")
    return int(text)


def number_from(least):
    """A finite number, `least` or more."""
    def number(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a number, {least} or more")
        return value
    return number
