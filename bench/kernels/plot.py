"""Draws what dca_bench measured.

    plot.py OUT_DIR [--chunk-sizes FILE.json] [--selection FILE.json]

The files are those of `dca_bench --benchmark_filter=chunk_sizes --benchmark_out=FILE.json --benchmark_out_format=json`
and of the same with `--benchmark_filter=selection/`. Writes chunk_size.png and selection_time.png.
"""

import argparse
import json
import math
import pathlib
import sys

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "script"))
from common import charts  # noqa: E402


def draw_chunk_size(sweep, path):
    """Milliseconds over chunk_size, beside causal attention of the same length."""
    points, causal, length = [], None, 0
    for run in sweep["benchmarks"]:
        if run.get("run_type") == "aggregate" or "chunk_sizes/" not in run["name"]:
            continue
        fields = dict(part.split(":") for part in run["name"].split("/") if ":" in part)
        length = int(fields["L"])
        if "dca_causal" in run["name"]:
            causal = run["real_time"]
        else:
            points.append((int(fields["chunk_size"]), run["real_time"]))
    figure, axes = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
    label, colour, marker = charts.DCA
    axes.plot(*zip(*sorted(points)), color=colour, marker=marker, linewidth=2.4, label=label)
    if causal is not None:
        label, colour, _ = charts.DCA_CAUSAL
        axes.axhline(causal, color=colour, linestyle=(0, (4, 3)), label=label)
    charts.length_axis(axes, sorted(size for size, _ in points))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))
    axes.set_ylim(0, 1.2 * max(milliseconds for _, milliseconds in points))
    axes.set_xlabel("chunk_size (local_window a sixth of it)")
    axes.set_ylabel("ms")
    axes.set_title(f"Prefill of {charts.tokens(length)} tokens over chunk_size", fontsize=13)
    charts.legend_below(figure, 2)
    charts.save(figure, path)


def slope(points):
    """Of the last two doublings, in log-log."""
    (first, start), (last, end) = points[-3], points[-1]
    return math.log(end / start) / math.log(last / first)


def draw_selection(speed, path):
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    for axes, kind, title in zip(panels, ("prefill", "decode"), ("Prefill of one head, head_dim 64, s",
                                                                 "Decoding a token, 8 heads on 2, ms")):
        lengths = set()
        for policy, (label, colour, marker) in charts.DISTANT_KEYS.items():
            points = {}
            for run in speed["benchmarks"]:
                parts = run["name"].split("/")
                if parts[:3] == ["selection", kind, policy] and run.get("run_type") != "aggregate":
                    length = int(parts[3].split(":")[1])
                    points[length] = min(points.get(length, math.inf), run["real_time"])
            line = sorted(points.items())
            if len(line) < 3:
                continue
            lengths |= points.keys()
            unit = 1e-3 if kind == "prefill" else 1
            axes.plot([x for x, _ in line], [y * unit for _, y in line], color=colour, marker=marker,
                      label=f"{label}, slope {slope(line):.2f}")
        axes.set_yscale("log")
        axes.set_ylim(top=10 * axes.get_ylim()[1])  # for the legend
        charts.length_axis(axes, sorted(lengths))
        axes.set_title(title)
        axes.set_xlabel("tokens")
        axes.legend()
    charts.save(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--chunk-sizes", type=pathlib.Path)
    parser.add_argument("--selection", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    charts.style()
    if arguments.chunk_sizes:
        draw_chunk_size(json.loads(arguments.chunk_sizes.read_text()), arguments.out / "chunk_size.png")
    if arguments.selection:
        draw_selection(json.loads(arguments.selection.read_text()), arguments.out / "selection_time.png")


if __name__ == "__main__":
    main()
