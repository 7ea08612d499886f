"""Prefill five ways behind one interface: make(case, inputs) gives a function to time, which returns its output.

    dca           Dual Chunk Attention of this library, RoPE inside
    dca_causal    causal attention of this library, RoPE inside
    torch         scaled_dot_product_attention(is_causal=True), its flash kernel for CPUs; RoPE done beforehand
    three_calls   Dual Chunk Attention as its authors compute it: per chunk up to three flash attentions (PyTorch's) and
                  a merge by their lse; RoPE done beforehand
    onnxruntime   GroupQueryAttention (com.microsoft) with do_rotary = 1: RoPE inside; float only
"""

import dataclasses
import functools

import numpy
import torch

from group_query import bound, group_query_session, lengths

THETA = 10000.0
TYPES = {"float": torch.float32, "bfloat16": torch.bfloat16}


@dataclasses.dataclass(frozen=True)
class Case:
    dtype: str
    length: int
    head_dim: int
    heads: int
    threads: int
    chunk_size: int
    local_window: int

    kind = "prefill"

    @property
    def name(self):
        return f"prefill_L{self.length}_D{self.head_dim}"

    @property
    def kv_heads(self):
        return self.heads

    @property
    def flops(self):
        """Of the two products over the lower triangle."""
        return 2.0 * self.heads * self.length**2 * self.head_dim


@dataclasses.dataclass
class Inputs:
    """Each [length, heads, head_dim], in the case's type, unrotated."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor

    @staticmethod
    def random(case):
        random = torch.Generator().manual_seed(1)
        shape = (case.length, case.heads, case.head_dim)
        return Inputs(*(torch.randn(shape, generator=random).to(TYPES[case.dtype]) for _ in range(3)))


def rotated(x, positions):
    """x [length, heads, head_dim] turned by positions [length], feature i with i + head_dim / 2; double inside."""
    half = x.shape[-1] // 2
    angles = positions.double()[:, None] * THETA ** (-torch.arange(half).double() / half)
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    first, second = x[..., :half].double(), x[..., half:].double()
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1).to(x.dtype)


def heads_first(x):
    """[length, heads, head_dim] as [1, heads, length, head_dim], dense: the layout that PyTorch likes best."""
    return x.transpose(0, 1).contiguous()[None]


def make_torch(case, inputs):
    positions = torch.arange(case.length)
    query, key = (heads_first(rotated(x, positions)) for x in (inputs.query, inputs.key))
    value = heads_first(inputs.value)

    def run():
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return out[0].transpose(0, 1)

    return run


def merged(parts):
    """(out, lse) of several key ranges as the out of all; weights stay in float."""
    lse = torch.stack([lse for _, lse in parts])
    weights = torch.softmax(lse, 0)[..., None]
    out = parts[0][0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:]):
        out += part[0] * weight
    return out


def make_three_calls(case, inputs):
    stride = case.chunk_size - case.local_window
    offsets = torch.arange(case.length) % stride
    positions = {
        "intra": offsets,
        "successive": torch.clamp(offsets + stride, max=case.chunk_size),
        "inter": torch.full_like(offsets, min(2 * stride - 1, case.chunk_size)),
    }
    query = {part: heads_first(rotated(inputs.query, at)) for part, at in positions.items()}
    key, value = heads_first(rotated(inputs.key, offsets)), heads_first(inputs.value)
    out = torch.empty_like(value)
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def run():
        for first in range(0, case.length, stride):
            rows = slice(first, min(first + stride, case.length))
            parts = [flash(query["intra"][:, :, rows], key[:, :, rows], value[:, :, rows], 0.0, True)]
            if first >= stride:
                keys = slice(first - stride, first)
                parts.append(flash(query["successive"][:, :, rows], key[:, :, keys], value[:, :, keys], 0.0, False))
            if first >= 2 * stride:
                keys = slice(0, first - stride)
                parts.append(flash(query["inter"][:, :, rows], key[:, :, keys], value[:, :, keys], 0.0, False))
            out[:, :, rows] = parts[0][0] if len(parts) == 1 else merged(parts)
        return out[0].transpose(0, 1)

    return run


@functools.lru_cache(maxsize=4)
def rotating_session(heads, head_dim, threads, max_length):
    """Over a whole sequence, without a past."""
    rows = [1, "L", heads * head_dim]
    present = [1, heads, "L", head_dim]
    angles = numpy.arange(max_length)[:, None] * THETA ** (-numpy.arange(head_dim // 2) / (head_dim // 2))
    return group_query_session({"query": rows, "key": rows, "value": rows},
                               {"out": rows, "present_key": present, "present_value": present}, heads, heads, threads,
                               rotation=(numpy.cos(angles), numpy.sin(angles)))


def make_onnxruntime(case, inputs):
    session = rotating_session(case.heads, case.head_dim, case.threads, case.length)
    rows = (1, case.length, case.heads * case.head_dim)
    arrays = {name: getattr(inputs, name).numpy().reshape(rows) for name in ("query", "key", "value")}
    present = (1, case.heads, case.length, case.head_dim)
    outputs = {name: numpy.zeros(shape, numpy.float32)
               for name, shape in (("out", rows), ("present_key", present), ("present_value", present))}
    return bound(session, {**arrays, **lengths(case.length)}, outputs)


def as_tensor(result, case):
    """What a run gave, as a float tensor [length, heads, head_dim]."""
    if isinstance(result, numpy.ndarray):
        result = torch.from_numpy(result).reshape(case.length, case.heads, case.head_dim)
    return result.float()


def implementations(library, dtype):
    """Name -> make(case, inputs)."""
    makers = {"dca": library.make_dca, "dca_causal": library.make_dca_causal, "torch": make_torch,
              "three_calls": make_three_calls}
    if dtype == "float":
        makers["onnxruntime"] = make_onnxruntime
    return makers
