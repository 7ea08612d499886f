"""Draws what script/bench-peers measured.

    plot.py RESULTS.json OUT_DIR

Writes, of what is there, speed_1_thread.png (and speed_2_threads.png, ...), share_of_peak.png and decode.png of the
fewest threads.
"""

import argparse
import json
import pathlib
import sys

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "script"))
from common import charts  # noqa: E402

# Label, colour, marker, width of the line.
IMPLEMENTATIONS = {
    "dca": (*charts.DCA, 2.4),
    "dca_causal": (*charts.DCA_CAUSAL, 1.6),
    "onnxruntime": ("ONNX Runtime: causal attention", "#009e73", "^", 1.6),
    "torch": ("PyTorch: causal attention", "#0072b2", "v", 1.6),
    "three_calls": ("PyTorch: Dual Chunk Attention, three calls a chunk", "#56b4e9", "D", 1.6),
}


def of_most_heads(results):
    """One record per combination of the rest: where a length was run with several numbers of heads, the largest."""
    best = {}
    for record in sorted(results, key=lambda record: record["heads"]):
        best[tuple(record[field] for field in ("impl", "dtype", "L", "D", "threads"))] = record
    return best


def on_threads(count):
    return f"on {count} thread{'s' if count > 1 else ''}"


def draw_speed(records, threads, path):
    """GFLOP/s over length; a panel for each type and head_dim, the machine's peak as a dashed line."""
    chosen = {key: record for key, record in records.items() if key[4] == threads}
    dtypes = [dtype for dtype in ("float", "bfloat16") if any(key[1] == dtype for key in chosen)]
    head_dims = sorted({key[3] for key in chosen})
    figure, grid = plt.subplots(len(dtypes), len(head_dims), sharex=True, sharey=True, squeeze=False,
                                figsize=(9.5, 0.8 + 3.2 * len(dtypes)), layout="constrained")
    for row, dtype in zip(grid, dtypes):
        for axes, head_dim in zip(row, head_dims):
            panel = [r for key, r in chosen.items() if key[1] == dtype and key[3] == head_dim]
            for name, (label, colour, marker, width) in IMPLEMENTATIONS.items():
                line = sorted((r["L"], r["gflops"]) for r in panel if r["impl"] == name)
                if line:
                    axes.plot(*zip(*line), color=colour, marker=marker, markersize=5, linewidth=width, label=label)
            peaks = sorted({(r["L"], r["gflops"] / r["of_peak"]) for r in panel if r["impl"] == "dca"})
            axes.plot(*zip(*peaks), color="#444444", linestyle=(0, (4, 3)), linewidth=1.2,
                      label="peak of fused multiply-adds in float")
            axes.set_title(f"{dtype}, head_dim {head_dim}")
            charts.length_axis(axes, sorted({r["L"] for r in chosen.values()}))
    grid[0][0].set_ylim(bottom=0)
    for axes in grid[-1]:
        axes.set_xlabel("tokens")
    for row in grid:
        row[0].set_ylabel("GFLOP/s")
    figure.suptitle(f"Prefill {on_threads(threads)}", fontsize=13)
    charts.legend_below(figure, 2)
    charts.save(figure, path)


def draw_share_of_peak(records, threads, path):
    """Share of the peak in float, as bars; a panel for each head_dim."""
    chosen = {key: r for key, r in records.items() if key[1] == "float" and key[4] == threads}
    head_dims, lengths = sorted({key[3] for key in chosen}), sorted({key[2] for key in chosen})
    names = [name for name in IMPLEMENTATIONS if any(key[0] == name for key in chosen)]
    figure, grid = plt.subplots(1, len(head_dims), sharey=True, squeeze=False, figsize=(10.5, 4.4),
                                layout="constrained")
    width = 0.85 / len(names)
    for axes, head_dim in zip(grid[0], head_dims):
        for k, name in enumerate(names):
            label, colour, _, _ = IMPLEMENTATIONS[name]
            shares = [chosen[name, "float", length, head_dim, threads]["of_peak"] for length in lengths]
            places = [at + (k - (len(names) - 1) / 2) * width for at in range(len(lengths))]
            bars = axes.bar(places, shares, width * 0.92, color=colour, label=label)
            labels = [f"{share:.0%}" for share in shares]
            axes.bar_label(bars, labels, rotation=90, fontsize=9, color="white", padding=-26)
        axes.set_title(f"head_dim {head_dim}")
        axes.set_xticks(range(len(lengths)), [charts.tokens(length) for length in lengths])
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("tokens")
    grid[0][0].set_ylim(0, 1)
    grid[0][0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    grid[0][0].set_ylabel("share of the peak")
    figure.suptitle(f"Prefill in float {on_threads(threads)}: share of the machine's multiply-adds", fontsize=13)
    charts.legend_below(figure, 2)
    charts.save(figure, path)


DECODERS = [  # impl, kv_type, label
    ("onnxruntime", "float", "ONNX Runtime, float"),
    ("torch", "float", "PyTorch, float"),
    ("torch", "bfloat16", "PyTorch, bfloat16"),
    ("dca", "float", "dca, float"),
    ("dca", "half", "dca, half"),
    ("dca", "bfloat16", "dca, bfloat16"),
    ("dca", "int8", "dca, int8"),
    ("dca", "int4", "dca, int4"),
]


def draw_decode(records, threads, path):
    """Tokens per second of one layer at the longest cache, as bars; a panel for each number of heads."""
    longest = max(record["L"] for record in records)
    chosen = [record for record in records if record["L"] == longest and record["threads"] == threads]
    heads = sorted({(record["heads"], record["kv_heads"]) for record in chosen})
    figure, grid = plt.subplots(1, len(heads), squeeze=False, sharey=True, figsize=(10.5, 3.8), layout="constrained")
    for axes, (count, kv_count) in zip(grid[0], heads):
        speed = {(r["impl"], r["kv_type"]): 1 / r["seconds"] for r in chosen if r["heads"] == count}
        shown = [(label, speed[impl, kv_type], IMPLEMENTATIONS[impl][1])
                 for impl, kv_type, label in DECODERS if (impl, kv_type) in speed]
        labels, values, colours = zip(*shown)
        bars = axes.barh(labels, values, color=colours)
        axes.bar_label(bars, [f"{value:.0f}" for value in values], padding=4, fontsize=9)
        axes.set_xlim(0, 1.12 * max(values))
        axes.set_title(f"{count} heads on {kv_count} kv heads")
        axes.set_xlabel("tokens/s")
        axes.grid(axis="y", visible=False)
    figure.suptitle(f"Decoding with {charts.tokens(longest)} tokens in the cache, one layer, {on_threads(threads)}, "
                    f"head_dim {chosen[0]['D']}", fontsize=13)
    charts.save(figure, path)


def main():
    parser = argparse.ArgumentParser(description="Draws the results of script/bench-peers.")
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("out_dir", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out_dir.mkdir(parents=True, exist_ok=True)
    charts.style()
    results = json.loads(arguments.results.read_text())
    records = of_most_heads([record for record in results if record["name"].startswith("prefill")])
    for threads in sorted({key[4] for key in records}):
        draw_speed(records, threads, arguments.out_dir / f"speed_{threads}_thread{'s' if threads > 1 else ''}.png")
    fewest = min(record["threads"] for record in results)  # what is drawn for one number of threads alone
    if records:
        draw_share_of_peak(records, fewest, arguments.out_dir / "share_of_peak.png")
    decoding = [record for record in results if record["name"].startswith("decode")]
    if decoding:
        draw_decode(decoding, fewest, arguments.out_dir / "decode.png")


if __name__ == "__main__":
    main()
