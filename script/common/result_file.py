"""Files of results: known to be writable before the work, whole or untouched after it."""

import json
import os
import pathlib
import stat
import tempfile


def check(path):
    """Throws OSError where `path` cannot be written; leaves what is there as it is."""
    place = _place(path)
    if place is None:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # a folder, or a pipe without a reader, is refused
        return
    if place.exists() and not os.access(place, os.W_OK):
        raise PermissionError(f"{path}: not writable")
    file, beside = _make_beside(place)
    os.close(file)
    os.unlink(beside)


def write(path, content):
    """The file's new content, text or bytes: what was there stays until all of it is there."""
    if isinstance(content, str):
        content = content.encode("utf-8")
    place = _place(path)
    if place is None:
        with open(path, "ab") as file:
            file.write(content)
        return
    descriptor, beside = _make_beside(place)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _mode(place))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    except BaseException:
        pathlib.Path(beside).unlink(missing_ok=True)
        raise


def write_json(path, value, indent=1):
    write(path, json.dumps(value, indent=indent) + "\n")


def _place(path):
    """The file that a link points to, where it is or may be a regular file; None where it is something else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
    except FileNotFoundError:
        pass
    return pathlib.Path(os.path.realpath(path))


def _make_beside(place):
    """A new file in the same folder: its descriptor and its name."""
    return tempfile.mkstemp(prefix=".unfinished-", dir=place.parent)


def _mode(place):
    """That of the file that is there, or of any new one."""
    if place.exists():
        return stat.S_IMODE(place.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
