"""This library, by the shared library dca_bench_peers."""

import ctypes

import torch


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
        # What Cache calls.
        self.make_decoding = library.dca_bench_make_decoding
        self.make_decoding.argtypes, self.make_decoding.restype = [ctypes.POINTER(Prefill), ctypes.c_char_p, ctypes.c_int64], ctypes.c_void_p
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


class Cache:
    """Keys and values [length, kv_heads, head_dim], unrotated, in this library's own cache, stored as kv_type. chunks:
    chunk_size and local_window; offset_keys: that many first keys of which a key offset is estimated, 0 for none."""

    def __init__(self, library, key, value, kv_type, heads, chunks, threads, offset_keys=0):
        self._library, self._heads, self._threads = library, heads, threads
        call = Prefill(None, key.data_ptr(), value.data_ptr(), None, key.shape[0], heads, *key.shape[1:], *chunks,
                       key.dtype == torch.bfloat16, threads)
        self._handle = library.make_decoding(ctypes.byref(call), kv_type.encode(), offset_keys)
        if not self._handle:
            raise RuntimeError(f"no cache of {kv_type} for {list(key.shape)}")
        self.bytes = library.decoding_bytes(self._handle)

    def attend(self, query, out):
        """query and out [1, heads, head_dim], in the type of keys and values: of the last token."""
        error = self._library.decode(self._handle, query.data_ptr(), out.data_ptr(), self._heads, self._threads)
        if error is not None:
            raise RuntimeError(error.decode())

    def __del__(self):
        if getattr(self, "_handle", None):
            self._library.end_decoding(self._handle)
