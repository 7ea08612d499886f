"""Prefill five ways behind one interface: make(case, inputs) gives a function to time, which returns its output.

    dca           Dual Chunk Attention of this library, RoPE inside
    dca_causal    causal attention of this library, RoPE inside
    torch         scaled_dot_product_attention(is_causal=True), its flash kernel for CPUs; RoPE done beforehand
    three_calls   Dual Chunk Attention as its authors compute it: per chunk up to three flash attentions (PyTorch's) and
                  a merge by their lse; RoPE done beforehand
    onnxruntime   GroupQueryAttention (com.microsoft) with do_rotary = 1: RoPE inside; float only
"""

import ctypes
import dataclasses
import functools

import numpy
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

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


class Prefill(ctypes.Structure):
    """The structure of the same name in library.cpp."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("query", "key", "value", "out")] + [
        (name, ctypes.c_int64)
        for name in ("length", "heads", "kv_heads", "head_dim", "chunk_size", "local_window", "bfloat16", "threads")
    ]


class Library:
    """The shared library dca_bench_peers."""

    def __init__(self, path):
        library = ctypes.CDLL(path)
        self._prefill = library.dca_bench_prefill
        self._prefill.argtypes, self._prefill.restype = [ctypes.POINTER(Prefill)], ctypes.c_char_p
        self._peak = library.dca_bench_fma_peak
        self._peak.argtypes, self._peak.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_double
        self.make_decoding = library.dca_bench_make_decoding
        self.make_decoding.argtypes, self.make_decoding.restype = [ctypes.POINTER(Prefill), ctypes.c_char_p], ctypes.c_void_p
        self.end_decoding = library.dca_bench_end_decoding
        self.end_decoding.argtypes, self.end_decoding.restype = [ctypes.c_void_p], None
        self.decoding_bytes = library.dca_bench_decoding_bytes
        self.decoding_bytes.argtypes, self.decoding_bytes.restype = [ctypes.c_void_p], ctypes.c_int64
        self.decode = library.dca_bench_decode
        self.decode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
        self.decode.restype = ctypes.c_char_p
        self._bandwidth = library.dca_bench_read_bandwidth
        self._bandwidth.argtypes, self._bandwidth.restype = [ctypes.c_int], ctypes.c_double
        for name in ("instruction_set", "fma_peak_method"):
            function = getattr(library, f"dca_bench_{name}")
            function.restype = ctypes.c_char_p
            setattr(self, name, function().decode())

    def fma_peak(self, threads, rounds=10):
        """FLOP/s in float."""
        return self._peak(threads, rounds)

    def read_bandwidth(self, threads):
        """Bytes per second."""
        return self._bandwidth(threads)

    def make_dca(self, case, inputs, chunked=True):
        out = torch.empty_like(inputs.query)
        call = Prefill(inputs.query.data_ptr(), inputs.key.data_ptr(), inputs.value.data_ptr(), out.data_ptr(),
                       case.length, case.heads, case.heads, case.head_dim,
                       case.chunk_size if chunked else 0, case.local_window, case.dtype == "bfloat16", case.threads)

        def run(_keep=inputs):  # the call holds no more than addresses
            error = self._prefill(ctypes.byref(call))
            if error is not None:
                raise RuntimeError(error.decode())
            return out

        return run

    def make_dca_causal(self, case, inputs):
        return self.make_dca(case, inputs, chunked=False)


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


def session_options(threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Its threads would otherwise spin on while the next implementation is timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


@functools.lru_cache(maxsize=4)
def group_query_session(heads, head_dim, threads, max_length):
    """An ONNX Runtime session of one GroupQueryAttention over a whole sequence, without a past."""
    rows = [1, "L", heads * head_dim]
    inputs = {"query": rows, "key": rows, "value": rows}
    outputs = {"out": rows, "present_key": [1, heads, "L", head_dim],
               "present_value": [1, heads, "L", head_dim]}
    angles = numpy.arange(max_length)[:, None] * THETA ** (-numpy.arange(head_dim // 2) / (head_dim // 2))
    caches = [onnx.numpy_helper.from_array(f(angles).astype(numpy.float32), name)
              for f, name in ((numpy.cos, "cos_cache"), (numpy.sin, "sin_cache"))]
    node = helper.make_node(
        "GroupQueryAttention",
        ["query", "key", "value", "", "", "seqlens_k", "total_sequence_length", "cos_cache", "sin_cache"],
        list(outputs), domain="com.microsoft", num_heads=heads, kv_num_heads=heads, do_rotary=1, rotary_interleaved=0)
    typed = lambda names: [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in names.items()]
    lengths = [helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, [1]),
               helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, [])]
    graph = helper.make_graph([node], "prefill", typed(inputs) + lengths, typed(outputs), caches)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), session_options(threads),
                                        providers=["CPUExecutionProvider"])


def make_onnxruntime(case, inputs):
    session = group_query_session(case.heads, case.head_dim, case.threads, case.length)
    width = case.heads * case.head_dim
    arrays = {name: getattr(inputs, name).numpy().reshape(1, case.length, width) for name in ("query", "key", "value")}
    arrays["seqlens_k"] = numpy.array([case.length - 1], numpy.int32)
    arrays["total_sequence_length"] = numpy.array(case.length, numpy.int32)
    results = {"out": numpy.zeros((1, case.length, width), numpy.float32)}
    for name in ("present_key", "present_value"):
        results[name] = numpy.zeros((1, case.heads, case.length, case.head_dim), numpy.float32)
    # The values share the arrays' memory, and a binding keeps neither alive: the function does.
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in {**arrays, **results}.items()}
    binding = session.io_binding()
    for name in arrays:
        binding.bind_ortvalue_input(name, values[name])
    for name in results:
        binding.bind_ortvalue_output(name, values[name])

    def run(_keep=(arrays, values)):
        session.run_with_iobinding(binding)
        return results["out"]

    return run


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
