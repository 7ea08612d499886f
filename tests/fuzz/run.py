"""Runs libFuzzer targets side by side for some minutes each, and tells what they did. Called by script/fuzz."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "fuzz"
MOST_BYTES = {"operator": 256, "cache": 512, "merge": 256, "gguf": 4096, "tokenizer": 1024, "chat_template": 1024}
MOST_FINDINGS = 20
STATUS = re.compile(r"#(\d+)\s+\w+.* cov: (\d+) ft: (\d+)(?: corp: (\d+))?")


class Progress:
    """One line on standard error for all targets that are running."""

    def __init__(self):
        self._lines, self._lock = {}, threading.Lock()

    def show(self, target, text):
        with self._lock:
            self._lines[target] = text
            if sys.stderr.isatty():
                sys.stderr.write("\r\033[K" + "   ".join(f"{k}: {v}" for k, v in self._lines.items()))
                sys.stderr.flush()

    def end(self, target, text):
        with self._lock:
            self._lines.pop(target, None)
            sys.stderr.write(("\r\033[K" if sys.stderr.isatty() else "") + f"{target}: {text}\n")
            sys.stderr.flush()


def run_once(target, seconds, result, progress):
    """One process, until its time is over or it finds something."""
    found, corpus = BUILD / "found" / target, BUILD / "corpus" / target
    before = set(found.iterdir())
    command = [
        BUILD / "tests" / "fuzz" / f"dca_fuzz_{target}", f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={MOST_BYTES[target]}", "-timeout=60", "-rss_limit_mb=4096", "-print_final_stats=1",
        f"-artifact_prefix={found}/", corpus, ROOT / "tests" / "fuzz" / "corpus" / target,
    ]
    environment = os.environ | {"ASAN_OPTIONS": "allocator_may_return_null=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True, errors="replace",
                               env=environment)
    executions, reason = 0, ""
    for line in process.stderr:
        status = STATUS.search(line)
        if status:
            executions = int(status[1])
            result["coverage"] = int(status[2])
            result["features"] = int(status[3])
            if "INITED" in line:
                result.setdefault("coverage_at_first", int(status[2]))
            progress.show(target, f"{result['executions'] + executions} runs, coverage {status[2]}")
        if line.startswith("stat::number_of_executed_units"):
            executions = int(line.split()[-1])
        if not reason and ("found: " in line or "runtime error: " in line or "ERROR: " in line):
            reason = line.strip()
    process.wait()
    result["executions"] += executions
    new = sorted(str(path) for path in set(found.iterdir()) - before)
    if process.returncode != 0:
        result["findings"].append({"files": new, "what": reason or f"exit status {process.returncode}"})
    return process.returncode == 0


def fuzz(target, minutes, progress):
    for folder in ("found", "corpus"):
        (BUILD / folder / target).mkdir(parents=True, exist_ok=True)
    result = {"target": target, "executions": 0, "findings": []}
    start = time.monotonic()
    while (left := 60 * minutes - (time.monotonic() - start)) > 0 and len(result["findings"]) < MOST_FINDINGS:
        if run_once(target, left, result, progress):
            break
    result["seconds"] = round(time.monotonic() - start, 1)
    result["corpus_files"] = sum(1 for _ in (BUILD / "corpus" / target).iterdir())
    progress.end(target, f"{result['executions']} runs, {len(result['findings'])} findings")
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--jobs", type=float, default=os.cpu_count() or 1)
    parser.add_argument("targets", nargs="+")
    options = parser.parse_args()
    progress = Progress()
    with concurrent.futures.ThreadPoolExecutor(max(1, int(options.jobs))) as pool:
        results = list(pool.map(lambda target: fuzz(target, options.minutes, progress), options.targets))
    (BUILD / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"{'target':14} {'runs':>10} {'runs/s':>8} {'coverage':>16} {'corpus':>7} {'findings':>9}")
    for r in results:
        covered = f"{r.get('coverage_at_first', 0)} -> {r.get('coverage', 0)}"
        rate = r["executions"] / max(r["seconds"], 0.1)
        print(f"{r['target']:14} {r['executions']:10} {rate:8.0f} {covered:>16} {r['corpus_files']:7} "
              f"{len(r['findings']):9}")
    for r in results:
        for finding in r["findings"]:
            print(f"{r['target']}: {finding['what']}: {' '.join(finding['files'])}")
    print(f"details: {BUILD / 'results.json'}", file=sys.stderr)
    return 1 if any(r["findings"] for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
