"""What the pictures of measurements have in common. Needs matplotlib."""

import io
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from common import result_file

# Label, colour, marker. Colours are Okabe and Ito's: told apart by everyone.
DCA = ("dca: Dual Chunk Attention", "#d55e00", "o")
DCA_CAUSAL = ("dca: causal attention", "#e69f00", "s")
DISTANT_KEYS = {  # by policy
    "all": ("all keys (exact)", "#d55e00", "o"),
    "recent": ("FirstAndRecent, 2048 keys", "#009e73", "^"),
    "top": ("TopBlocks, 2048 keys", "#0072b2", "s"),
}


def style():
    plt.rcParams.update({
        "font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": "#e4e4e4", "axes.axisbelow": True, "legend.frameon": False, "figure.dpi": 110,
        "axes.titlesize": 11,
    })


def tokens(value, _=None):
    return f"{value / 1024:g}k" if value >= 1024 and value % 1024 == 0 else f"{value:g}"


def length_axis(axes, lengths):
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    axes.xaxis.set_major_formatter(FuncFormatter(tokens))
    axes.xaxis.set_minor_locator(NullLocator())


def legend_below(figure, columns):
    """One legend for all panels, that of the first."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def picture_format(path):
    return pathlib.Path(path).suffix[1:].lower()


def save(figure, path, dpi="figure"):
    picture = io.BytesIO()
    figure.savefig(picture, format=picture_format(path), dpi=dpi)
    plt.close(figure)
    result_file.write(path, picture.getvalue())
    print(path)
