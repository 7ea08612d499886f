"""Draws what choosing among the keys of distant chunks loses.

    plot_selection.py OUT_DIR [--quality FILE.json ...] [--chosen FILE.json [--layer L] [--head H]]

The files are written by `dca_lm ppl --json` and `dca_lm passkey --json` with and without --inter, that of --chosen with
--chosen. Writes selection_quality.png and selection_blocks.png.
"""

import argparse
import json
import pathlib
import sys

import matplotlib.pyplot as plt
import numpy
from matplotlib.patches import Patch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "script"))
from common import charts  # noqa: E402


def budget_of(result):
    policy, _, keys = result.get("inter", "all").partition(":")
    return policy, int(keys or 0)


def draw_quality(path, results):
    perplexities = [r for r in results if "perplexity" in r]
    passkeys = [r for r in results if "trials" in r]
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained", sharex=True)
    score = {
        "perplexity": (perplexities, lambda r: r["perplexity"]),
        "passkeys found": (passkeys, lambda r: sum(t["correct"] for t in r["trials"]) / len(r["trials"])),
    }
    for axes, (name, (runs, value)) in zip(panels, score.items()):
        if not runs:
            continue
        for policy in ("recent", "top"):
            label, colour, marker = charts.DISTANT_KEYS[policy]
            line = sorted((budget_of(r)[1], value(r)) for r in runs if budget_of(r)[0] == policy)
            axes.plot(*zip(*line), color=colour, marker=marker, label=label.split(",")[0])
        exact = [value(r) for r in runs if budget_of(r)[0] == "all"]
        if exact:
            axes.axhline(exact[0], color=charts.DISTANT_KEYS["all"][1], linestyle=(0, (4, 3)), label=charts.DISTANT_KEYS["all"][0])
        axes.set_title(f"{name}, {runs[0]['tokens']} tokens")
        axes.set_xlabel("keys of distant chunks visited")
        axes.legend()
    panels[1].set_ylim(-0.05, 1.05)
    charts.save(figure, path)


def draw_blocks(path, result, layer, head):
    chosen = [r for r in result["chosen"] if r["layer"] == layer and r["kv_head"] == head]
    if not chosen:
        sys.exit(f"plot_selection.py: --layer {layer} --head {head}; the file has no choices of that")
    block, tokens = 128, result["tokens"]
    chunk_len = result["chunk_size"] - result["local_window"]
    size = -(-tokens // block)
    seen = numpy.zeros((size, size, 3))
    seen[:] = (1, 1, 1)
    near, skipped, visited = (0.80, 0.80, 0.80), (0.95, 0.95, 0.95), (0.0, 0.447, 0.698)
    for r in chosen:
        rows = range(r["first_query"] // block, -(-r["last_query"] // block))
        for row in rows:
            start = row * block // chunk_len * chunk_len
            seen[row, max(0, (start - chunk_len) // block):row + 1] = near
            seen[row, :-(-r["keys"] // block)] = skipped
            seen[row, r["blocks"]] = visited
    figure, axes = plt.subplots(figsize=(6.6, 6.2), layout="constrained")
    axes.imshow(seen, extent=(0, tokens, tokens, 0), interpolation="nearest")
    axes.grid(False)
    axes.set_title(f"Layer {layer}, kv_head {head}, --inter {result['inter']}")
    axes.set_xlabel("key")
    axes.set_ylabel("query")
    axes.legend(loc="upper right", handles=[
        Patch(facecolor=near, label="own chunk and the one before: all"),
        Patch(facecolor=visited, label="distant chunks: visited"),
        Patch(facecolor=skipped, edgecolor="#bbbbbb", label="distant chunks: skipped")])
    charts.save(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--quality", type=pathlib.Path, nargs="+", default=[])
    parser.add_argument("--chosen", type=pathlib.Path)
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--head", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    charts.style()
    if arguments.quality:
        draw_quality(arguments.out / "selection_quality.png", [json.loads(p.read_text()) for p in arguments.quality])
    if arguments.chosen:
        draw_blocks(arguments.out / "selection_blocks.png", json.loads(arguments.chosen.read_text()), arguments.layer,
                    arguments.head)


if __name__ == "__main__":
    main()
