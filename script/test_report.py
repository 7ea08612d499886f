"""What ctest found, in one table over several builds; tests that were skipped without leave are failures.

    test_report.py add SUMMARY BUILD SECONDS CONDITIONS JUNIT STATUS   one more build: ctest's --output-junit and its exit status
    test_report.py fail SUMMARY BUILD SECONDS WHY                      one more build, or script, that failed before its tests
    test_report.py pass SUMMARY BUILD SECONDS                          a script that passed
    test_report.py show SUMMARY                                        the table; fails if anything in it has failed

SUMMARY is a JSON file. CONDITIONS, separated by commas, are those of tests/allowed_skips.txt that hold.
"""

import fnmatch
import json
import pathlib
import sys
import xml.etree.ElementTree

ALLOWED_SKIPS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "allowed_skips.txt"
COUNTS = ("tests", "passed", "skipped", "failed")


def allowed_skips(text, conditions):
    """The patterns of the tests that may be skipped where these conditions hold."""
    patterns = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 3 or not all(fields):
            sys.exit(f"{ALLOWED_SKIPS.name}: {line!r}; must be: test name | condition | why")
        if fields[1] in conditions:
            patterns.append(fields[0])
    return patterns


def outcome(case):
    """passed, skipped or failed, and why."""
    output = case.findtext("system-out") or ""
    skipped = case.find("skipped")
    status = case.get("status")
    if status == "run":
        # A test that says so without an exit status of its own.
        return ("skipped", "printed SKIPPED:") if "SKIPPED:" in output else ("passed", "")
    if status == "disabled" or (skipped is not None and skipped.get("message", "").startswith("SKIP_")):
        lines = [line for line in output.splitlines() if "SKIPPED:" in line]
        return "skipped", lines[0].strip() if lines else status
    return "failed", status


def count(junit, patterns, status):
    """A row of the table without its name and time. Prints what ctest does not."""
    row = dict.fromkeys(COUNTS, 0)
    row["skips"] = []
    cases = xml.etree.ElementTree.parse(junit).getroot().iter("testcase") if pathlib.Path(junit).exists() else ()
    for case in cases:
        name = case.get("name")
        result, why = outcome(case)
        row["tests"] += 1
        if result == "skipped" and not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            print(f"== skipped, which tests/{ALLOWED_SKIPS.name} does not allow here: {name}: {why}")
            result = "failed"
        elif result == "skipped":
            row["skips"].append(f"{name}: {why}")
        row[result] += 1
    if row["failed"] == 0 and (status != 0 or row["tests"] == 0):
        row |= {"failed": 1, "why": f"ctest exited with {status} after {row['tests']} tests"}
    return row


def rows_of(summary):
    return json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else []


def add(summary, row):
    summary.write_text(json.dumps([*rows_of(summary), row], indent=2) + "\n", encoding="utf-8")
    return row["failed"] == 0


def show(summary):
    rows = rows_of(summary)
    print(f"\n{'build':<22}" + "".join(f"{name:>9}" for name in (*COUNTS, "seconds")))
    for row in rows:
        print(f"{row['build']:<22}" + "".join(f"{row[name]:>9}" for name in (*COUNTS, "seconds")) +
              (f"  {row['why']}" if "why" in row else ""))
    total = {name: sum(row[name] for row in rows) for name in COUNTS}
    print(f"\n{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return bool(rows) and total["failed"] == 0


def main(command, summary, *rest):
    summary = pathlib.Path(summary)
    if command == "show":
        return show(summary)
    build, seconds, *rest = rest
    row = {"build": build, "seconds": int(seconds)}
    if command == "add":
        conditions, junit, status = rest
        patterns = allowed_skips(ALLOWED_SKIPS.read_text(encoding="utf-8"), conditions.split(","))
        return add(summary, row | count(junit, patterns, int(status)))
    one = dict.fromkeys(COUNTS, 0) | {"tests": 1}
    if command == "pass":
        return add(summary, row | one | {"passed": 1})
    return add(summary, row | one | {"failed": 1, "why": rest[0]})


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
