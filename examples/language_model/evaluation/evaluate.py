"""Measures what a model makes of texts beyond its trained window, with Dual Chunk Attention and with other methods.

Run by script/evaluate, which makes what it needs. Every measurement is one call of dca_lm and one JSON file under
OUT/measurements; those that are there are not made again, so that a run can be stopped and gone on with. At the end
each part has a JSON file, a table and a picture in OUT.
"""

import argparse
import hashlib
import json
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "script"))
import plan  # noqa: E402
import results  # noqa: E402
from common import options, result_file  # noqa: E402
from common.progress import Progress  # noqa: E402

MINUTES = {"full": 117, "quick": 9, "headline": 58}


class Runner:
    def __init__(self, program, model, folder):
        self._program, self._model, self._folder = program, model, folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name):
        return self._folder / f"{name}.json"

    def result(self, name):
        return json.loads(self.path(name).read_text()) if self.path(name).exists() else None

    def measure(self, name, arguments, tick=lambda: None):
        """The result of a call of dca_lm: what is there, or a new one."""
        known = self.result(name)
        if known is not None:
            return known
        # dca_lm writes it whole: where it is there, a run was stopped before it could be named.
        unfinished = self.path(name).with_suffix(".unfinished")
        start = time.monotonic()
        if not unfinished.exists():
            self._call([arguments[0], "--model", self._model, *arguments[1:], "--json", str(unfinished)], tick)
        result = json.loads(unfinished.read_text())
        result["wall_seconds"] = max(time.monotonic() - start, result.get("seconds", 0.0))
        result_file.write_json(self.path(name), result, indent=None)
        unfinished.unlink()
        return result

    def _call(self, arguments, tick):
        command = [self._program, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace") as process:
            try:
                while True:
                    try:
                        output, _ = process.communicate(timeout=1)
                        break
                    except subprocess.TimeoutExpired:
                        tick()
            except BaseException:
                process.terminate()
                raise
        if process.returncode != 0:
            sys.exit(f"\nevaluate.py: {' '.join(command)}\n{output}")


def name_of(path):
    """For people and JSON: what is no UTF-8 is replaced."""
    return pathlib.Path(path).name.encode(errors="replace").decode()


def check_inputs(out, model, text):
    """Results of one model and one text to a folder."""
    digest = lambda path: hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    inputs = {"model": name_of(model), "model_sha256": digest(model), "text": name_of(text),
              "text_sha256": digest(text)}
    known = out / "inputs.json"
    if known.exists() and json.loads(known.read_text()) != inputs:
        sys.exit(f"evaluate.py: {out} has results of another model or text; give another folder with --json")
    result_file.write_json(known, inputs)


def calibrate(runner, text):
    """Two short runs that tell how fast this machine is, and the second's result."""
    runs = []
    for tokens in (1024, 8192):
        arguments = ["ppl", "--text", text, "--tokens", str(tokens), "--attention", "rope"]
        runs.append(runner.measure(f"calibration-{tokens}", arguments))
    return plan.Speed(*runs), runs[1]


def print_plan(chosen, cut, short, runner, speed):
    print(f"\n{'part':36} {'measurements':>12} {'there':>6} {'minutes':>8}")
    total = 0.0
    for part, title in plan.PARTS.items():
        of_part = [one for one in chosen if one.part == part]
        if not of_part:
            continue
        there = [one for one in of_part if runner.result(one.name) is not None]
        minutes = sum(speed.seconds(one.work) for one in of_part if one not in there) / 60
        total += minutes
        print(f"{title:36} {len(of_part):12} {len(there):6} {minutes:8.0f}")
    print(f"{'all':36} {len(chosen):12} {'':6} {total:8.0f}   by the speed of two short runs on this machine")
    if cut:
        print("\nleft out, for they do not fit the time; --minutes gives more:")
    for one in cut:
        print(f"  {one.title} ({speed.seconds(one.work) / 60:.0f} min)")
    if short:
        print("\nleft out, for the text is too short: " + "; ".join(one.title for one in short))
    sys.stdout.flush()


def planned(out, mode, minutes, measurements, cost_of, text_tokens):
    """A plan is made once, so that a run that goes on does not change its mind."""
    path = out / f"plan-{mode}.json"
    names = json.loads(path.read_text()) if path.exists() else {}
    if names.get("minutes") == minutes:
        pick = lambda key: [one for one in measurements if one.name in names[key]]
        return pick("chosen"), pick("cut"), pick("short")
    chosen, cut, short = plan.choose(measurements, cost_of, 60 * minutes, text_tokens)
    names = {key: [one.name for one in ones] for key, ones in (("chosen", chosen), ("cut", cut), ("short", short))}
    result_file.write_json(path, {"minutes": minutes, **names})
    return chosen, cut, short


def measure_all(chosen, runner, speed, minutes):
    """In turn, so that a run that is stopped has something of every part. Returns what does not fit the minutes any more,
    where the machine turns out slower than estimated: it is left for another run."""
    todo = sorted((one for one in chosen if runner.result(one.name) is None), key=lambda one: one.turn)
    progress = Progress(sum(speed.seconds(one.work) for one in todo) or 1.0)
    end = time.monotonic() + 60 * minutes
    left = []
    for k, one in enumerate(todo):
        estimate = speed.seconds(one.work)
        if time.monotonic() + progress.factor * estimate > end:
            left.append(one)
            continue
        tick = lambda: progress.show(f"{k + 1} of {len(todo)}, {one.title}", estimate)
        tick()
        result = runner.measure(one.name, one.arguments, tick)
        progress.add(estimate)
        progress.clear()
        print(f"  {one.title}: {result['wall_seconds']:.0f} s", flush=True)
    return left


def report(out, window, measured, runner):
    records = results.collect(out, window, measured, runner)
    print(results.write(out, records))
    try:
        import pictures
    except ModuleNotFoundError as missing:
        print(f"no pictures: {missing}")
        return
    pictures.draw(out, records)


def stop(*_):
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, stop)
    parser = argparse.ArgumentParser(description="Evaluates a model beyond its trained window.")
    parser.add_argument("--program", required=True, help="dca_lm")
    parser.add_argument("--model", required=True, type=options.input_file, help="GGUF file")
    parser.add_argument("--text", required=True, type=options.input_file, help="UTF-8 file")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the results")
    parser.add_argument("--mode", choices=MINUTES, default="full", help="a few short measurements, all of them, or one "
                        "at 25 times the trained window")
    parser.add_argument("--minutes", type=options.number_from(0), help="how long it may take; else as long as suits "
                        "the mode")
    arguments = parser.parse_args()
    mode = arguments.mode
    minutes = MINUTES[mode] if arguments.minutes is None else arguments.minutes
    arguments.out.mkdir(parents=True, exist_ok=True)
    check_inputs(arguments.out, arguments.model, arguments.text)
    runner = Runner(arguments.program, arguments.model, arguments.out / "measurements")
    speed, calibration = calibrate(runner, arguments.text)
    measurements = plan.CATALOGUES[mode](calibration["trained_window"], arguments.text, speed)
    cost_of = lambda one: speed.seconds(one.work) if runner.result(one.name) is None else 0.0
    chosen, cut, short = planned(arguments.out, mode, minutes, measurements, cost_of, calibration["text_tokens"])
    print(f"{name_of(arguments.model)}, trained on {calibration['trained_window']} tokens;"
          f" {calibration['threads']} threads, {calibration['instruction_set']}")
    print_plan(chosen, cut, short, runner, speed)
    print("\nmeasured:")
    stopped = False
    try:
        left = measure_all(chosen, runner, speed, minutes)
        if left:
            print("\nleft out, for the machine was slower than estimated; the same command goes on with them:")
            for one in left:
                print(f"  {one.title}")
    except KeyboardInterrupt:
        stopped = True
    measured = [one for one in chosen if runner.result(one.name) is not None]
    report(arguments.out, calibration["trained_window"], measured, runner)
    if stopped:
        sys.exit(f"\nstopped after {len(measured)} of {len(chosen)} measurements; the same command goes on")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on")
