"""One token against a cache, three ways behind one interface, as in prefill.py.

    dca           Dual Chunk Attention of this library over its own cache, stored as the case's kv_type
    torch         scaled_dot_product_attention of one query, enable_gqa for grouped heads; RoPE done beforehand
    onnxruntime   GroupQueryAttention with a past, which it shares with its present: nothing is copied; float only
"""

import dataclasses

import numpy
import torch

from group_query import bound, group_query_session, lengths
from library import Cache
from prefill import TYPES


@dataclasses.dataclass(frozen=True)
class DecodeCase:
    """length: tokens in the cache, that of the query included. kv_type: how this library stores them."""

    dtype: str
    kv_type: str
    length: int
    head_dim: int
    heads: int
    kv_heads: int
    threads: int

    kind = "decode"

    @property
    def name(self):
        return f"decode_L{self.length}_D{self.head_dim}_{self.kv_type}"

    @property
    def flops(self):
        """Of the two products."""
        return 4.0 * self.heads * self.length * self.head_dim

    @property
    def stored_bytes(self):
        """Of keys and values as this library stores them, scales included: what decoding must read."""
        row = {"float": 4 * self.head_dim, "half": 2 * self.head_dim, "bfloat16": 2 * self.head_dim,
               "int8": self.head_dim + 4, "int4": self.head_dim // 32 * 20}[self.kv_type]
        return 2.0 * self.kv_heads * self.length * row


class Tokens:
    """Keys and values [length, kv_heads, head_dim], unrotated, and a query [1, heads, head_dim]."""

    def __init__(self, case):
        random = torch.Generator().manual_seed(1)
        draw = lambda *shape: torch.randn(shape, generator=random).to(TYPES[case.dtype])
        self.key, self.value = (draw(case.length, case.kv_heads, case.head_dim) for _ in range(2))
        self.query = draw(1, case.heads, case.head_dim)


def make_dca(library, case, tokens):
    cache = Cache(library, tokens.key, tokens.value, case.kv_type, case.heads, (6144, 1024), case.threads)
    if cache.bytes != case.stored_bytes:
        raise RuntimeError(f"{cache.bytes} bytes in the cache of {case}")
    out = torch.empty_like(tokens.query)

    def run():
        cache.attend(tokens.query, out)
        return out

    return run


def make_torch(library, case, tokens):
    query = tokens.query.transpose(0, 1).contiguous()[None]
    key, value = (x.transpose(0, 1).contiguous()[None] for x in (tokens.key, tokens.value))
    grouped = case.heads != case.kv_heads

    def run():
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=grouped)[0].transpose(0, 1)

    return run


def make_onnxruntime(library, case, tokens):
    flat = lambda x: numpy.ascontiguousarray(x.numpy().reshape(1, 1, -1))
    heads_first = lambda x: numpy.ascontiguousarray(x.numpy().transpose(1, 0, 2)[None])
    inputs = {"query": flat(tokens.query), "key": flat(tokens.key[-1]), "value": flat(tokens.value[-1]),
              "past_key": heads_first(tokens.key), "past_value": heads_first(tokens.value)}
    past = inputs["past_key"].shape
    width, kv_width = case.heads * case.head_dim, case.kv_heads * case.head_dim
    session = group_query_session(
        {"query": [1, 1, width], "key": [1, 1, kv_width], "value": [1, 1, kv_width], "past_key": past, "past_value": past},
        {"out": [1, 1, width], "present_key": past, "present_value": past}, case.heads, case.kv_heads, case.threads)
    out = numpy.zeros((1, 1, width), numpy.float32)
    outputs = {"out": out, "present_key": inputs["past_key"], "present_value": inputs["past_value"]}
    return bound(session, {**inputs, **lengths(case.length)}, outputs)


def implementations(case):
    """Name -> make(library, case, tokens)."""
    if case.kv_type != case.dtype:
        return {"dca": make_dca}
    makers = {"dca": make_dca, "torch": make_torch}
    if case.dtype == "float":
        makers["onnxruntime"] = make_onnxruntime
    return makers
