#!/usr/bin/env python3
"""report.py BUILD: lines and branches of include/ that ran, by file and in total, from what gcov knows of BUILD.

A line counts once, however many instantiations of a template it is part of, and is covered where any of them ran. So
does a branch: number k of those that a line has. Branches that only an exception takes are left out: nearly every call
in C++ has one.
"""
import argparse
import concurrent.futures
import html
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
INCLUDE = ROOT / "include"
STYLE = """body { font: 14px sans-serif; margin: 2em; } td, th { padding: 0 1em 0 0; text-align: right; }
td:first-child, th:first-child { text-align: left; } pre { line-height: 1.3; }
.missed { background: #f6b8b8; } .partly { background: #f6e3a8; } .covered { background: #d8f0d8; }"""


def read_unit(notes):
    """What gcov says of one object file: [(path below include, line, count, [branch counts])]."""
    data = notes.with_suffix(".gcda")
    command = [os.environ.get("GCOV", "gcov"), "--json-format", "--stdout", "--branch-probabilities",
               str(data if data.exists() else notes)]
    output = subprocess.run(command, cwd=notes.parent, capture_output=True, text=True, check=True).stdout
    found = []
    for document in filter(None, output.splitlines()):
        unit = json.loads(document)
        for file in unit["files"]:
            path = pathlib.Path(os.path.normpath(os.path.join(unit["current_working_directory"], file["file"])))
            if not path.is_relative_to(INCLUDE):
                continue
            for line in file["lines"]:
                branches = [branch["count"] for branch in line["branches"] if not branch["throw"]]
                found.append((str(path.relative_to(INCLUDE)), line["line_number"], line["count"], branches))
    return found


def merge(units):
    """{path: {line: (count, [branch counts])}}."""
    files = {}
    for path, line, count, branches in (entry for unit in units for entry in unit):
        old_count, old = files.setdefault(path, {}).get(line, (0, []))
        length = max(len(old), len(branches))
        together = [a + b for a, b in zip(old + [0] * (length - len(old)), branches + [0] * (length - len(branches)))]
        files[path][line] = (old_count + count, together)
    return files


def numbers_of(lines):
    branches = [count for _, all_branches in lines.values() for count in all_branches]
    return {"lines": len(lines), "lines_covered": sum(count > 0 for count, _ in lines.values()), "branches": len(branches),
            "branches_covered": sum(count > 0 for count in branches)}


def share(part, whole):
    return 100.0 * part / whole if whole else 100.0


def cells(name, numbers):
    return [name, str(numbers["lines"]), f"{share(numbers['lines_covered'], numbers['lines']):.1f} %",
            str(numbers["branches"]), f"{share(numbers['branches_covered'], numbers['branches']):.1f} %"]


def ranges(numbers):
    """1, 2, 3, 7 as 1-3 7."""
    runs = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def missed(lines):
    return [line for line, (count, _) in lines.items() if count == 0]


def write_source(path, lines, target):
    rows = []
    for number, text in enumerate((INCLUDE / path).read_text().splitlines(), 1):
        count, branches = lines.get(number, (None, []))
        kind = "" if count is None else "missed" if count == 0 else "partly" if 0 in branches else "covered"
        taken = f"{sum(branch > 0 for branch in branches)}/{len(branches)}" if branches else ""
        rows.append(f'<span class="{kind}">{number:5} {"" if count is None else count:>12} {taken:>6}  '
                    f"{html.escape(text)}</span>")
    target.write_text(f"<!doctype html><meta charset=utf-8><title>{path}</title><style>{STYLE}</style><h1>{path}</h1>"
                      "<p>line, runs, branches taken</p><pre>" + "\n".join(rows) + "</pre>\n")


def write_html(files, table, folder):
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in table:
        name = row[0].replace("/", "_") + ".html"
        if row[0] in files:
            write_source(row[0], files[row[0]], folder / name)
        first = f'<a href="{name}">{row[0]}</a>' if row[0] in files else f"<b>{row[0]}</b>"
        rows.append(f"<tr><td>{first}</td>" + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>")
    (folder / "index.html").write_text(
        f"<!doctype html><meta charset=utf-8><title>Coverage</title><style>{STYLE}</style><h1>Coverage of include/</h1>"
        "<table><tr><th>file</th><th>lines</th><th>covered</th><th>branches</th><th>covered</th></tr>\n" +
        "\n".join(rows) + "</table><p>Branches that only an exception takes are left out.</p>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--least", type=float, default=0.0, help="percent of lines; fewer are a failure")
    arguments = parser.parse_args()
    notes = sorted(arguments.build.resolve().rglob("*.gcno"))
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        files = merge(pool.map(read_unit, notes))
    if not files:
        print(f"coverage: nothing of include/ in {arguments.build}", file=sys.stderr)
        return 1
    by_file = {path: numbers_of(lines) for path, lines in sorted(files.items())}
    total = {key: sum(numbers[key] for numbers in by_file.values()) for key in next(iter(by_file.values()))}
    table = [cells(path, numbers) for path, numbers in by_file.items()] + [cells("all", total)]
    print(f"{'file':<42}{'lines':>7}{'covered':>10}{'branches':>10}{'covered':>10}  lines not reached")
    for row in table:
        print(f"{row[0]:<42}{row[1]:>7}{row[2]:>10}{row[3]:>10}{row[4]:>10}  {ranges(missed(files.get(row[0], {})))}")
    report = {"total": total, "files": {path: {**numbers, "lines_missed": missed(files[path])}
                                        for path, numbers in by_file.items()}}
    (arguments.build / "coverage.json").write_text(json.dumps(report, indent=1) + "\n")
    write_html(files, table, arguments.build / "html")
    reached = share(total["lines_covered"], total["lines"])
    if reached < arguments.least:
        print(f"coverage: {reached:.1f} % of the lines are reached, at least {arguments.least:g} % are wanted",
              file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
