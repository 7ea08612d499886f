"""One token against a cache, three ways behind one interface, as in prefill.py.

    dca           Dual Chunk Attention of this library over its own cache, stored as the case's kv_type
    torch         scaled_dot_product_attention of one query, enable_gqa for grouped heads; RoPE done beforehand
    onnxruntime   GroupQueryAttention with a past, which it shares with its present: nothing is copied; float only
"""

import ctypes
import dataclasses

import numpy
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

from prefill import TYPES, Prefill, session_options


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


class Decoding:
    """A cache of this library."""

    def __init__(self, library, case, tokens):
        self._library = library
        call = Prefill(None, tokens.key.data_ptr(), tokens.value.data_ptr(), None, case.length, case.heads, case.kv_heads,
                       case.head_dim, 6144, 1024, case.dtype == "bfloat16", case.threads)
        self._handle = library.make_decoding(ctypes.byref(call), case.kv_type.encode())
        if not self._handle:
            raise RuntimeError(f"no cache for {case}")
        if library.decoding_bytes(self._handle) != case.stored_bytes:
            raise RuntimeError(f"{library.decoding_bytes(self._handle)} bytes in the cache of {case}")

    def step(self, query, out, case):
        error = self._library.decode(self._handle, query.data_ptr(), out.data_ptr(), case.heads, case.threads)
        if error is not None:
            raise RuntimeError(error.decode())

    def __del__(self):
        if getattr(self, "_handle", None):
            self._library.end_decoding(self._handle)


def make_dca(library, case, tokens):
    decoding, out = Decoding(library, case, tokens), torch.empty_like(tokens.query)

    def run():
        decoding.step(tokens.query, out, case)
        return out

    return run


def make_torch(library, case, tokens):
    query = tokens.query.transpose(0, 1).contiguous()[None]
    key, value = (x.transpose(0, 1).contiguous()[None] for x in (tokens.key, tokens.value))
    grouped = case.heads != case.kv_heads

    def run():
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=grouped)[0].transpose(0, 1)

    return run


def decode_session(case):
    """An ONNX Runtime session of one GroupQueryAttention with a past of case.length tokens, RoPE done beforehand."""
    heads, kv_heads, head_dim = case.heads, case.kv_heads, case.head_dim
    past = [1, kv_heads, case.length, head_dim]
    inputs = {"query": [1, 1, heads * head_dim], "key": [1, 1, kv_heads * head_dim], "value": [1, 1, kv_heads * head_dim],
              "past_key": past, "past_value": past}
    outputs = {"out": [1, 1, heads * head_dim], "present_key": past, "present_value": past}
    node = helper.make_node(
        "GroupQueryAttention", ["query", "key", "value", "past_key", "past_value", "seqlens_k", "total_sequence_length"],
        list(outputs), domain="com.microsoft", num_heads=heads, kv_num_heads=kv_heads)
    typed = lambda names: [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in names.items()]
    lengths = [helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, [1]),
               helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, [])]
    graph = helper.make_graph([node], "decode", typed(inputs) + lengths, typed(outputs))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), session_options(case.threads),
                                        providers=["CPUExecutionProvider"])


def make_onnxruntime(library, case, tokens):
    session = decode_session(case)
    flat = lambda x: numpy.ascontiguousarray(x.numpy().reshape(1, 1, -1))
    heads_first = lambda x: numpy.ascontiguousarray(x.numpy().transpose(1, 0, 2)[None])
    arrays = {"query": flat(tokens.query), "key": flat(tokens.key[-1]), "value": flat(tokens.value[-1]),
              "past_key": heads_first(tokens.key), "past_value": heads_first(tokens.value),
              "seqlens_k": numpy.array([case.length - 1], numpy.int32),
              "total_sequence_length": numpy.array(case.length, numpy.int32)}
    out = numpy.zeros((1, 1, case.heads * case.head_dim), numpy.float32)
    # The values share the arrays' memory, and a binding keeps neither alive: the function does.
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in {**arrays, "out": out}.items()}
    binding = session.io_binding()
    for name in arrays:
        binding.bind_ortvalue_input(name, values[name])
    binding.bind_ortvalue_output("out", values["out"])
    binding.bind_ortvalue_output("present_key", values["past_key"])
    binding.bind_ortvalue_output("present_value", values["past_value"])

    def run(_keep=(arrays, values)):
        session.run_with_iobinding(binding)
        return out

    return run


def implementations(case):
    """Name -> make(library, case, tokens)."""
    if case.kv_type != case.dtype:
        return {"dca": make_dca}
    makers = {"dca": make_dca, "torch": make_torch}
    if case.dtype == "float":
        makers["onnxruntime"] = make_onnxruntime
    return makers
