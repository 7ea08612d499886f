"""Draws the figures of the guide: how a query sees its keys, and what it passes on its way.

    figures.py POSITION_MAP [OUT_DIR]

POSITION_MAP is the built dca_position_map: what is drawn is what the library computes. OUT_DIR is docs/pictures unless
given. Needs matplotlib. Text takes its colour from the reader's theme, light or dark.
"""

import argparse
import pathlib
import subprocess

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

TEXT, FAINT = "#010203", "#040506"  # stand-ins: replaced by colours of the theme
THEME = """<style>
 svg { color: #24292f; --faint: #d0d7de; font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
 text { font-family: inherit !important; }
 @media (prefers-color-scheme: dark) { svg { color: #e6edf3; --faint: #3d444d; } }
</style>
"""
INTER, SUCCESSIVE, INTRA = "#3d8fd1", "#1aa179", "#e0701f"  # told apart by everyone, on white and on black
COLOURS = LinearSegmentedColormap.from_list("near_to_far", ["#fcd97d", "#f48c5c", "#cb4778", "#7e2a93", "#30266e"])

CHUNK_SIZE, LOCAL_WINDOW = 12, 4
CHUNK_LEN = CHUNK_SIZE - LOCAL_WINDOW


def style():
    plt.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "dca", "font.size": 12, "axes.titlesize": 13, "text.color": TEXT,
        "axes.edgecolor": TEXT, "axes.labelcolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT, "grid.color": FAINT,
        "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.axisbelow": True,
    })


def save(figure, path):
    figure.savefig(path, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    svg = path.read_text(encoding="utf-8").replace(TEXT, "currentColor").replace(FAINT, "var(--faint)")
    start = svg.index("<svg")
    after = svg.index(">", start) + 1
    lines = (svg[:after] + "\n" + THEME + svg[after:].lstrip("\n")).splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def position_map(program, composition, length=32):
    """Relative positions by [query][key], None where the query does not see the key."""
    text = subprocess.run(
        [program, "--composition", composition, "--chunk-size", str(CHUNK_SIZE), "--local-window", str(LOCAL_WINDOW),
         "--length", str(length), "--cells", "numbers"], check=True, capture_output=True, text=True).stdout
    return [[None if cell == "." else int(cell) for cell in line.split()] for line in text.splitlines()[:length]]


def three_ranges(program, path):
    """Where a query and its keys stand on the rotary axis, part by part."""
    query = 26
    relative = position_map(program, "dca")[query][:query + 1]
    chunk, offset = divmod(query, CHUNK_LEN)
    parts = [
        ("inter", INTER, range(0, (chunk - 1) * CHUNK_LEN)),
        ("successive", SUCCESSIVE, range((chunk - 1) * CHUNK_LEN, chunk * CHUNK_LEN)),
        ("intra", INTRA, range(chunk * CHUNK_LEN, query + 1)),
    ]
    figure, axes = plt.subplots(figsize=(10, 4.6))
    for name, colour, keys in parts:
        key_positions = [j % CHUNK_LEN for j in keys]
        query_position = relative[keys[0]] + key_positions[0]
        assert all(relative[j] == query_position - j % CHUNK_LEN for j in keys)
        axes.vlines(keys, key_positions, query_position, color=colour, linewidth=1.4, alpha=0.55)
        axes.scatter(keys, key_positions, s=52, color=colour, zorder=3, label="keys" if name == "intra" else None)
        axes.hlines(query_position, keys[0] - 0.4, keys[-1] + 0.4, color=colour, linewidth=5)
        axes.annotate(f"{name}: query at {query_position}", (sum(keys) / len(keys), query_position), (0, 9),
                      textcoords="offset points", ha="center", color=colour, fontweight="bold")
    for edge in range(CHUNK_LEN, query + 1, CHUNK_LEN):
        axes.axvline(edge - 0.5, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
    axes.set(xlim=(-1, 29.5), ylim=(-0.8, CHUNK_SIZE + 1.8), xlabel=f"key, by absolute position; the query is token {query}",
             ylabel="rotary position", xticks=range(0, query + 1, 4), yticks=range(0, CHUNK_SIZE + 1, 4))
    axes.grid(axis="y", linewidth=0.7)
    axes.set_title(f"A line is a relative position: none exceeds chunk_size, {CHUNK_SIZE}", loc="left")
    save(figure, path)


def maps(program, path):
    """The relative positions of four ways to attend, side by side."""
    titles = [("rope", "plain RoPE"), ("dca", "Dual Chunk Attention"), ("streaming", "StreamingLLM"),
              ("self-extend", "Self-Extend")]
    figure, grid = plt.subplots(2, 2, figsize=(9, 9.2))
    for axes, (composition, title) in zip(grid.flat, titles):
        rows = position_map(program, composition)
        largest = max(cell for row in rows for cell in row if cell is not None)
        cells = {}  # squares of a relative position; one for all that is beyond
        for i, row in enumerate(rows):
            for j, cell in enumerate(row):
                if cell is not None:
                    cells.setdefault(min(cell, CHUNK_SIZE + 1), []).append(
                        Path([(j, i), (j + 0.94, i), (j + 0.94, i + 0.94), (j, i + 0.94), (j, i)], closed=True))
        for cell, squares in cells.items():
            beyond = cell > CHUNK_SIZE
            axes.add_patch(PathPatch(Path.make_compound_path(*squares), linewidth=0, clip_on=False,
                                     facecolor="#8b949e" if beyond else COLOURS(cell / CHUNK_SIZE),
                                     alpha=0.35 if beyond else 1))
        axes.set(xlim=(0, len(rows)), ylim=(len(rows), 0), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"{title}: up to {largest}", loc="left")
        for spine in axes.spines.values():
            spine.set_visible(False)
    grid[1][0].set(xlabel="keys", ylabel="queries")
    figure.subplots_adjust(wspace=0.06, hspace=0.12)
    steps = BoundaryNorm([k - 0.5 for k in range(CHUNK_SIZE + 2)], COLOURS.N)
    shades = plt.cm.ScalarMappable(steps, COLOURS)
    bar = figure.colorbar(shades, ax=grid, orientation="horizontal", fraction=0.025, pad=0.06, aspect=50,
                          ticks=range(0, CHUNK_SIZE + 1, 4))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.solids.set_edgecolor("face")
    bar.set_label(f"relative position; grey: beyond {CHUNK_SIZE}, where the model has not been trained")
    save(figure, path)


def chunk_edge(program, path):
    """True distance against relative position, for queries that stand at several offsets in their chunk."""
    rows = position_map(program, "dca")
    figure, panels = plt.subplots(1, 4, figsize=(11, 3.3), sharex=True, sharey=True)
    for axes, offset in zip(panels, (0, LOCAL_WINDOW, LOCAL_WINDOW + 1, CHUNK_LEN - 1)):
        query = 2 * CHUNK_LEN + offset
        axes.axline((0, 0), slope=1, color=FAINT, linewidth=1.5, zorder=0)
        for distance in range(query + 1):
            chunks_back = query // CHUNK_LEN - (query - distance) // CHUNK_LEN
            axes.scatter(distance, rows[query][query - distance], s=30, color=(INTRA, SUCCESSIVE, INTER)[chunks_back])
        exact = next(d for d in range(query + 2) if d > query or rows[query][query - d] != d) - 1
        axes.set_title(f"offset {offset}: exact to {exact}", loc="left")
        axes.set(xlim=(-1, 25), xticks=range(0, 25, 8), yticks=range(0, CHUNK_SIZE + 1, 4), ylim=(-0.9, CHUNK_SIZE + 1.5))
    panels[0].set(ylabel="relative position")
    figure.supxlabel("true distance in tokens", fontsize=12, y=-0.06)
    save(figure, path)


def architecture(path):
    """The storeys that a call passes, and what passes between them."""
    figure, axes = plt.subplots(figsize=(10, 5.2))
    axes.set(xlim=(0, 10), ylim=(0, 5.4))
    axes.axis("off")
    storeys = [
        (4.3, INTRA, "operator", "checks arguments; knows every type", ["parts", "source", "tensors", "device", "policy"]),
        (3.0, SUCCESSIVE, "plan", "integers alone, compiled once", ["tasks", "runs of rows", "panels", "choices"]),
        (1.7, INTER, "tile", "once for each scalar", ["many rows: packed", "few: streamed", "states"]),
        (0.4, "#8a6fd1", "machine", "once for each scalar and storage",
         ["products", "softmax", "rows", "packets"]),
    ]
    for bottom, colour, name, note, things in storeys:
        axes.add_patch(FancyBboxPatch((0.1, bottom), 9.8, 0.86, boxstyle="round,pad=0.02,rounding_size=0.08",
                                      facecolor=colour, alpha=0.14, edgecolor="none"))
        axes.text(0.3, bottom + 0.52, name, color=colour, fontweight="bold", fontsize=14, va="center")
        axes.text(0.3, bottom + 0.2, note, fontsize=9.5, va="center")
        for k, thing in enumerate(things):
            width = 6.2 / len(things)
            axes.text(3.6 + (k + 0.5) * width, bottom + 0.43, thing, ha="center", va="center")
    passing = ["by reference, types erased", "one task at a time", "one tile of 128 or 512 keys at a time"]
    for (bottom, *_), text in zip(storeys, passing):
        axes.annotate("", (5.4, bottom - 0.4), (5.4, bottom - 0.04), arrowprops={"arrowstyle": "-|>", "color": TEXT})
        axes.text(5.6, bottom - 0.22, text, fontsize=10.5, va="center")
    save(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("position_map")
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parent / "pictures")
    arguments = parser.parse_args()
    style()
    three_ranges(arguments.position_map, arguments.out / "three_ranges.svg")
    maps(arguments.position_map, arguments.out / "position_maps.svg")
    chunk_edge(arguments.position_map, arguments.out / "chunk_edge.svg")
    architecture(arguments.out / "architecture.svg")


if __name__ == "__main__":
    main()
