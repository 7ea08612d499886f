"""Draws the parts of script/evaluate, each as PART.png."""

import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator

from common.charts import save, style, tokens
from results import by_order, score

# Okabe and Ito's colours, and their darker relatives: told apart by everyone together with the markers.
METHODS = {
    "dca": ("DCA", "#d55e00", "o"), "dca+ntk": ("DCA + NTK", "#a34700", "P"),
    "dca+yarn": ("DCA + YaRN", "#7a3500", "X"), "rope": ("plain RoPE", "#444444", "s"),
    "dca+top": ("DCA, chosen distant keys", "#e6ab02", "*"),
    "linear": ("linear interpolation", "#999999", "v"), "ntk": ("NTK-aware", "#56b4e9", "^"),
    "yarn": ("YaRN", "#0072b2", "D"), "self-extend": ("Self-Extend", "#009e73", "<"),
    "streaming": ("StreamingLLM", "#cc79a7", ">"), "control": ("control: plain RoPE within its window", "#000000", "_"),
    "intra": ("intra", "#cc79a7", "v"), "intra+inter": ("intra + inter", "#0072b2", "^"),
}


def draw_lines(axes, records):
    """Perplexity over position, with standard errors; the lowest and the highest."""
    records = sorted(records, key=lambda record: (by_order(record["attention"]), -record["tokens"]))
    best = min(bucket["perplexity"] for record in records for bucket in record["buckets"])
    seen = set()
    for record in records:
        label, colour, marker = METHODS[record["attention"]]
        again = record["attention"] in seen
        seen.add(record["attention"])
        at = [(bucket["from"] + bucket["to"]) / 2 for bucket in record["buckets"]]
        values = [bucket["perplexity"] for bucket in record["buckets"]]
        errors = [bucket["error"] for bucket in record["buckets"]]
        if again:
            label += f", to {tokens(record['tokens'])}"
        axes.errorbar(at, values, yerr=errors, label=label, color=colour, marker=marker, markersize=4,
                      linestyle="--" if record["attention"] == "control" or again else "-",
                      linewidth=2.2 if record["attention"] == "dca" else 1.2, elinewidth=0.8)
    longest = max(record["tokens"] for record in records)
    places = [longest * eighth // 8 for eighth in range(9)]
    axes.set_xticks(places, [tokens(place) for place in places])
    axes.set_xlabel("position in the text, tokens")
    axes.set_ylabel("perplexity")
    return best, max(bucket["perplexity"] for record in records for bucket in record["buckets"])


def draw_perplexity(records, title, path):
    figure, axes = plt.subplots(figsize=(9.5, 6), layout="constrained")
    low, high = draw_lines(axes, records)
    axes.set_yscale("log")
    limits = 0.85 * low, min(1.2 * high, 40 * low)  # all is lost beyond
    digits = (1, 2, 3, 5) if limits[1] > 6 * limits[0] else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    ticks = [digit * 10**power for power in range(7) for digit in digits]
    ticks = [tick for tick in ticks if limits[0] < tick < limits[1]]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(*limits)
    axes.set_title(f"{title} (bars: standard error)", fontsize=13)
    figure.legend(loc="outside lower center", ncols=3)
    save(figure, path)


def draw_heat_maps(records, kind, title, path):
    """Length over depth, one map for each method: the share that was found, green where all was."""
    trials = [record for record in records if record["kind"] == kind]
    methods = sorted({trial["attention"] for trial in trials}, key=by_order)
    lengths, depths = sorted({t["tokens"] for t in trials}), sorted({t["depth"] for t in trials})
    figure, grid = plt.subplots(1, len(methods), squeeze=False, sharey=True, layout="constrained",
                                figsize=(1.6 + (0.9 + 0.75 * len(lengths)) * len(methods), 1.8 + 0.55 * len(depths)))
    image = None
    for axes, method in zip(grid[0], methods):
        cells = [[[t for t in trials if (t["attention"], t["tokens"], t["depth"]) == (method, length, depth)]
                  for length in lengths] for depth in depths]
        shown = lambda t: t["probability"] if kind == "needle" else float(t["correct"])
        values = [[sum(map(shown, cell)) / len(cell) if cell else float("nan") for cell in row] for row in cells]
        image = axes.imshow(values, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
        for y, row in enumerate(cells):
            for x, cell in enumerate(row):
                if cell:
                    found = f"{sum(t['correct'] for t in cell)}/{len(cell)}"
                    dark = not 0.15 < values[y][x] < 0.85
                    axes.text(x, y, found, ha="center", va="center", fontsize=9, color="white" if dark else "black")
        axes.set_xticks(range(len(lengths)), [tokens(length) for length in lengths])
        axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
        axes.set_title(METHODS[method][0])
        axes.set_xlabel("tokens")
        axes.grid(visible=False)
    grid[0][0].set_ylabel("depth")
    label = "probability of the right word of ten" if kind == "needle" else "share found"
    figure.colorbar(image, ax=grid[0][-1], label=label)
    figure.suptitle(title, fontsize=13)
    save(figure, path)


def draw_above_control(axes, records):
    """By how much perplexity is above the control's, in per cent, over position."""
    longest = 0
    for record in sorted(records, key=lambda record: by_order(record["attention"])):
        label, colour, marker = METHODS[record["attention"]]
        compared = [bucket for bucket in record["buckets"] if "over_control" in bucket]
        axes.errorbar([(bucket["from"] + bucket["to"]) / 2 for bucket in compared],
                      [100 * (bucket["over_control"] - 1) for bucket in compared],
                      yerr=[100 * bucket["over_control_error"] for bucket in compared],
                      label=label, color=colour, marker=marker, markersize=4, elinewidth=0.8, capsize=2)
        longest = max(longest, compared[-1]["to"])
    places = [longest * eighth // 8 for eighth in range(9)]
    axes.set_xticks(places, [tokens(place) for place in places])
    axes.axhline(0, color="#000000", linewidth=0.8)
    axes.set_xlabel("position in the text, tokens")
    axes.set_ylabel("perplexity above control, % (bar: standard error)")
    axes.legend()


def draw_combinations(records, path):
    """Dual Chunk Attention alone and with others' frequencies or chosen keys, above the control."""
    figure, axes = plt.subplots(figsize=(9.5, 4.8), layout="constrained")
    draw_above_control(axes, records)
    axes.set_title("Dual Chunk Attention in combination", fontsize=13)
    save(figure, path)


def draw_ablation(records, path):
    """Perplexity over position, above the control's where there is one, and the share of passkeys that was found."""
    lines = [record for record in records if record["kind"] == "perplexity"]
    trials = [record for record in records if record["kind"] == "passkey"]
    figure, grid = plt.subplots(1, 2 if trials else 1, squeeze=False, figsize=(10.5, 4.6), layout="constrained")
    if lines and all("over_control" in bucket for line in lines for bucket in line["buckets"]):
        draw_above_control(grid[0][0], lines)
    elif lines:
        low, high = draw_lines(grid[0][0], lines)
        grid[0][0].set_ylim(0.9 * low, 1.15 * high)
        grid[0][0].legend()
    if trials:
        names = sorted({trial["attention"] for trial in trials}, key=lambda name: (name == "dca", by_order(name)))
        scores = [score([trial for trial in trials if trial["attention"] == name]) for name in names]
        axes = grid[0][1]
        bars = [[min(error, share) for share, error in scores], [min(error, 1 - share) for share, error in scores]]
        axes.bar([METHODS[name][0] for name in names], [share for share, _ in scores], yerr=bars,
                 color=[METHODS[name][1] for name in names], capsize=4)
        axes.set_ylim(0, 1.1)
        axes.set_ylabel("passkeys found (bar: standard error)")
        axes.grid(axis="x", visible=False)
    figure.suptitle("The parts of Dual Chunk Attention", fontsize=13)
    save(figure, path)


def draw_tune(records, path):
    """Perplexity and speed over chunk_size and over local_window."""
    best = min(records, key=lambda one: one["perplexity"])
    default = records[0]  # the authors' sizes are tried first
    sweeps = {
        "chunk_size": ([one for one in records if one["local_window"] == default["local_window"]],
                       f"local_window {default['local_window']}"),
        "local_window": ([one for one in records if one["chunk_size"] == best["chunk_size"]],
                         f"chunk_size {best['chunk_size']}"),
    }
    figure, grid = plt.subplots(2, 2, figsize=(10, 6), sharex="col", layout="constrained")
    for column, (name, (sweep, fixed)) in enumerate(sweeps.items()):
        sweep = sorted(sweep, key=lambda one: one[name])
        at = [one[name] for one in sweep]
        errors = [one["above_best_error"] * best["perplexity"] for one in sweep]
        grid[0][column].errorbar(at, [one["perplexity"] for one in sweep], yerr=errors, color="#d55e00", marker="o")
        grid[1][column].plot(at, [one["tokens_per_second"] for one in sweep], color="#0072b2", marker="s")
        grid[1][column].set_ylim(0, 1.1 * max(one["tokens_per_second"] for one in sweep))
        grid[0][column].set_title(fixed)
        grid[1][column].set_xlabel(name)
    grid[0][0].set_ylabel("perplexity beyond the window\n(bars: error against the best)")
    grid[1][0].set_ylabel("tokens/s")
    figure.suptitle("chunk_size and local_window", fontsize=13)
    save(figure, path)


def draw(out, records):
    style()
    methods = [record for record in records["perplexity"] if not record["attention"].startswith("dca+")]
    if methods:
        draw_perplexity(methods, "Perplexity over position", out / "perplexity.png")
    combined = [record for record in records["perplexity"] if record["attention"].startswith("dca")
                and any("over_control" in bucket for bucket in record["buckets"])]
    if len(combined) > 1:
        draw_combinations(combined, out / "combinations.png")
    if records["headline"]:
        draw_perplexity(records["headline"], "25 times the trained window", out / "headline.png")
    for kind, title in (("passkey", "Passkeys found"), ("needle", "Needles found")):
        if records[kind]:
            draw_heat_maps(records[kind], kind, title, out / f"{kind}.png")
    if records["ablation"]:
        draw_ablation(records["ablation"], out / "ablation.png")
    if records["tune"]:
        draw_tune(records["tune"], out / "tune.png")
