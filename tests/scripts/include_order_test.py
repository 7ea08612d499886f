"""Whether the headers of the library include only what lies below them, and nothing in a circle."""

import pathlib
import re
import unittest

INCLUDE = pathlib.Path(__file__).resolve().parents[2] / "include" / "dca"
# From the lowest folder to the highest; "." is dca.hpp.
ORDER = ("tensor", "instruction_set", "positions", "parts", "device", "packet", "rope", "kv", "kernel/plan", "kernel/call",
         "kernel/machine", "kernel/tile", "kernel", "attention", "compiled", ".")


def includes():
    """By header, the headers of the library that it includes."""
    headers = sorted(INCLUDE.rglob("*.hpp"))
    name = re.compile(r'#include "dca/([^"]+)"')
    return {header.relative_to(INCLUDE).as_posix(): name.findall(header.read_text()) for header in headers}


def folder(header):
    return pathlib.PurePosixPath(header).parent.as_posix()


class IncludeOrder(unittest.TestCase):
    def test_folders_include_those_below(self):
        found = includes()
        self.assertGreater(len(found), 50)
        upwards = [
            f"{header} includes {other}"
            for header, others in found.items()
            for other in others
            if folder(other) != folder(header) and ORDER.index(folder(other)) > ORDER.index(folder(header))
        ]
        self.assertEqual(upwards, [])

    def test_no_header_includes_itself_by_a_detour(self):
        found = includes()
        done = set()

        def visit(header, path):
            self.assertNotIn(header, path, f"a circle: {' -> '.join([*path, header])}")
            if header in done:
                return
            for other in found[header]:
                visit(other, [*path, header])
            done.add(header)

        for header in found:
            visit(header, [])


if __name__ == "__main__":
    unittest.main()
