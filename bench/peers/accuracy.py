"""Errors of attention in float against long double, of this library and of PyTorch, and what storages of keys add.

Queries stand at the last token and see all keys. 64 of them share a kv_head, which this library gives to its packed
products, and 8, which it streams; PyTorch's flash attention gets the 64, its rotation done beforehand in double. An
error is the norm of the difference over the norm of the exact output.
"""

import argparse
import os
import pathlib
import sys

import matplotlib.pyplot as plt
import numpy
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "script"))
from common import charts, options, result_file  # noqa: E402
from common.progress import Progress  # noqa: E402
from library import Cache, Library  # noqa: E402
from prefill import THETA, rotated  # noqa: E402

PACKED, STREAMED = 64, 8  # query rows
PICTURES = ("png", "svg", "pdf")
KV_TYPES = ("float", "half", "bfloat16", "int8", "int4")


class Problem:
    """Keys and values [length, 1, head_dim] and queries [1, 64, head_dim], float, unrotated."""

    def __init__(self, length, head_dim, gain=1.0, one_sign=False, key_bias=None):
        random = torch.Generator().manual_seed(1)
        draw = lambda *shape: torch.randn(shape, generator=random)
        self.length, self.head_dim = length, head_dim
        self.key, self.value = draw(length, 1, head_dim), draw(length, 1, head_dim)
        self.query = gain * draw(1, PACKED, head_dim)
        if one_sign:
            self.key, self.value, self.query = self.key.abs(), self.value.abs(), self.query.abs()
        if key_bias is not None:
            self.key = self.key + key_bias

    def exact(self, chunk_size, local_window):
        """Output [64, head_dim] and the largest logit, in long double, from the definition."""
        chunk_len = chunk_size - local_window
        keys = numpy.arange(self.length)
        query = self.length - 1
        gap = numpy.minimum(query // chunk_len - keys // chunk_len, 2)
        seen_from = [query % chunk_len, min(query % chunk_len + chunk_len, chunk_size), min(2 * chunk_len - 1, chunk_size)]
        key = long_rotated(self.key[:, 0].numpy(), keys % chunk_len)
        logits = numpy.empty((PACKED, self.length), numpy.longdouble)
        for part, position in enumerate(seen_from):
            seen = gap == part
            if seen.any():
                turned = long_rotated(self.query[0].numpy(), numpy.full(PACKED, position))
                logits[:, seen] = turned @ key[seen].T
        logits /= numpy.sqrt(numpy.longdouble(self.head_dim))
        weights = numpy.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return weights @ self.value[:, 0].numpy().astype(numpy.longdouble), float(numpy.abs(logits).max())


def long_rotated(x, positions):
    """x [rows, head_dim] turned by positions [rows], feature i with i + head_dim / 2, all in long double."""
    half = x.shape[-1] // 2
    frequencies = numpy.longdouble(THETA) ** (-numpy.arange(half).astype(numpy.longdouble) / half)
    angles = positions.astype(numpy.longdouble)[:, None] * frequencies
    cosine, sine = numpy.cos(angles), numpy.sin(angles)
    first, second = x[:, :half].astype(numpy.longdouble), x[:, half:].astype(numpy.longdouble)
    return numpy.concatenate((first * cosine - second * sine, second * cosine + first * sine), -1)


def ours(library, problem, kv_type, rows, chunk_size, local_window, offset_keys=0):
    """This library's output [rows, head_dim], from a cache that stores as kv_type."""
    dtype = torch.bfloat16 if kv_type == "bfloat16" else torch.float32
    key, value, query = (x.to(dtype).contiguous() for x in (problem.key, problem.value, problem.query[:, :rows]))
    out = torch.empty_like(query)
    Cache(library, key, value, kv_type, rows, (chunk_size, local_window), 1, offset_keys).attend(query, out)
    return out[0].float().numpy()


def torchs(problem):
    """PyTorch's output [64, head_dim] in float."""
    key = rotated(problem.key, torch.arange(problem.length))
    query = rotated(problem.query.transpose(0, 1), torch.full((PACKED,), problem.length - 1))
    return torch.nn.functional.scaled_dot_product_attention(
        query[None, :, 0][None], key[None, :, 0][None], problem.value[None, :, 0][None])[0, 0].numpy()


def error(out, exact):
    exact = exact[: len(out)]
    return float(numpy.linalg.norm((out - exact).astype(float)) / numpy.linalg.norm(exact.astype(float)))


def of_float(library, problem):
    """Errors in float without chunks: a chunk_size beyond the text is causal attention."""
    chunks = (2 * problem.length, problem.length // 2)
    exact, largest_logit = problem.exact(*chunks)
    return {"largest_logit": largest_logit, "dca_packed": error(ours(library, problem, "float", PACKED, *chunks), exact),
            "dca_streamed": error(ours(library, problem, "float", STREAMED, *chunks), exact),
            "torch": error(torchs(problem), exact)}


def key_bias(head_dim, features, norm):
    """A bias of the keys in a few features, as real models have them."""
    bias = torch.zeros(head_dim)
    signs = torch.tensor([1.0 - 2 * (k % 2) for k in range(len(features))])
    bias[list(features)] = signs * norm / len(features) ** 0.5
    return bias


def of_storages(library, length):
    """What each storage, with and without a key offset, does to keys with and without a bias of norm 605 in two slow pairs (features 62, 63, 126, 127):
    Qwen2.5-7B has one of that norm in its first layer. Dual Chunk Attention 1024/128, queries three times as large as
    ordinary ones."""
    rows = []
    for norm, offset_keys in ((0.0, 0), (605.0, 0), (605.0, 256)):
        problem = Problem(length, 128, gain=3.0, key_bias=key_bias(128, (62, 63, 126, 127), norm))
        exact, _ = problem.exact(1024, 128)
        for kv_type in KV_TYPES:
            out = ours(library, problem, kv_type, PACKED, 1024, 128, offset_keys)
            rows.append({"norm": norm, "offset_keys": offset_keys, "kv_type": kv_type, "error": error(out, exact)})
    return rows


def sweeps(quick):
    """(name, what varies, its values, the problem of a value: its length, its head_dim and what else it is made of)"""
    lengths = [256, 1024, 4096] + ([] if quick else [16384, 65536])
    return [
        ("length", "keys", lengths, lambda x: (x, 128, {})),
        ("head_dim", "head_dim", [16, 32, 64, 128, 256, 512], lambda x: (4096, x, {})),
        ("logits", "largest logit", [1, 10, 100, 1e3, 1e4], lambda x: (4096, 128, {"gain": x / 4.5})),
        ("one_sign", "head_dim, features of one sign", [16, 32, 64, 128, 256, 512], lambda x: (4096, x, {"one_sign": True})),
    ]


SERIES = {"dca_packed": "dca, 64 query rows", "dca_streamed": "dca, 8 query rows", "torch": "PyTorch, 64 query rows"}


def seconds(length, head_dim):
    """About what a problem takes, most of it in long double."""
    return 4e-7 * length * head_dim


def measure(library, quick):
    todo = [(name, label, x, *sizes(x)) for name, label, values, sizes in sweeps(quick) for x in values]
    of_all = sum(seconds(length, head_dim) for *_, length, head_dim, _ in todo)
    results, progress = [], Progress(of_all + 2 * seconds(4096, 128))
    for name, label, x, length, head_dim, more in todo:
        progress.show(f"{label} {x:g}", seconds(length, head_dim))
        results.append({"sweep": name, "x": x, "label": label, **of_float(library, Problem(length, head_dim, **more))})
        progress.add(seconds(length, head_dim))
    progress.show("storages of keys", 2 * seconds(4096, 128))
    storages = of_storages(library, 4096)
    progress.clear()
    return {"float": results, "storages": storages, "instruction_set": library.instruction_set,
            "torch": torch.__version__}


def print_tables(results):
    print(f"{'':34}{'largest logit':>14}{'dca, 64 rows':>14}{'dca, 8 rows':>14}{'PyTorch':>12}")
    for row in results["float"]:
        print(f"{row['label'] + ' ' + format(row['x'], 'g'):34}{row['largest_logit']:14.4g}{row['dca_packed']:14.2e}"
              f"{row['dca_streamed']:14.2e}{row['torch']:12.2e}")
    print(f"\n{'keys stored as':24}{'no bias':>12}{'bias of norm 605':>20}{'with an offset':>18}")
    found = {(row["kv_type"], row["norm"], row["offset_keys"]): row["error"] for row in results["storages"]}
    for kv_type in KV_TYPES:
        name = kv_type + (", all tensors" if kv_type == "bfloat16" else "")
        print(f"{name:24}{found[kv_type, 0.0, 0]:12.2e}{found[kv_type, 605.0, 0]:20.2e}{found[kv_type, 605.0, 256]:18.2e}")


def picture_file(path):
    """For argparse: a picture that can be drawn and written."""
    if charts.picture_format(path) not in PICTURES:
        raise argparse.ArgumentTypeError(f"{path!r}: its name must end in one of .{', .'.join(PICTURES)}")
    return options.output_file(path)


def draw(results, path):
    names = list(dict.fromkeys(row["sweep"] for row in results["float"]))
    figure, axes = plt.subplots(1, len(names), figsize=(3.3 * len(names), 3.4), sharey=True, layout="constrained")
    for axis, name in zip(axes, names):
        rows = [row for row in results["float"] if row["sweep"] == name]
        x = [row["largest_logit"] if name == "logits" else row["x"] for row in rows]
        for (series, label), marker in zip(SERIES.items(), "os^"):
            axis.loglog(x, [row[series] for row in rows], marker=marker, label=label)
        axis.axhline(2.0**-24, color="grey", linestyle=":", label="a rounding, 2^-24")
        axis.set_xlabel(rows[0]["label"])
        axis.grid(True, which="major", alpha=0.3)
        if name in ("head_dim", "one_sign"):
            axis.set_xscale("log", base=2)
            axis.set_xticks(x, [str(value) for value in x])
            axis.minorticks_off()
    axes[0].set_ylabel("error of the output, relative")
    axes[0].legend(fontsize="small")
    figure.suptitle("Attention in float against long double")
    charts.save(figure, path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", required=True, type=options.output_file)
    parser.add_argument("--picture", required=True, type=picture_file)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = measure(Library(os.path.abspath(arguments.library)), arguments.quick)
    result_file.write_json(arguments.json, results)
    draw(results, arguments.picture)
    print_tables(results)  # after the files, for it may find a full disk


if __name__ == "__main__":
    main()
