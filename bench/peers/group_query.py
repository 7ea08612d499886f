"""ONNX Runtime's GroupQueryAttention (com.microsoft), in float."""

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper


def group_query_session(inputs, outputs, heads, kv_heads, threads, rotation=()):
    """A session of one GroupQueryAttention. inputs and outputs: name -> shape; a past where inputs have one. rotation:
    cosines and sines [positions, head_dim / 2] to rotate by, or nothing where RoPE is done beforehand."""
    past = [name if name in inputs else "" for name in ("past_key", "past_value")]
    caches = [onnx.numpy_helper.from_array(values.astype(numpy.float32), name)
              for name, values in zip(("cos_cache", "sin_cache"), rotation)]
    node = helper.make_node(
        "GroupQueryAttention",
        ["query", "key", "value", *past, "seqlens_k", "total_sequence_length", *(cache.name for cache in caches)],
        list(outputs), domain="com.microsoft", num_heads=heads, kv_num_heads=kv_heads, do_rotary=int(bool(rotation)),
        rotary_interleaved=0)
    typed = lambda shapes: [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    counts = [helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, [1]),
              helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, [])]
    graph = helper.make_graph([node], "attention", typed(inputs) + counts, typed(outputs), caches)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Its threads would otherwise spin on while the next implementation is timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def lengths(length):
    """The inputs that say how many tokens there are."""
    return {"seqlens_k": numpy.array([length - 1], numpy.int32), "total_sequence_length": numpy.array(length, numpy.int32)}


def bound(session, inputs, outputs):
    """A function that runs the session on these arrays, by name, and returns `out`. An output that is the array of an
    input has its memory: nothing is copied."""
    values = {id(array): onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (*inputs.values(), *outputs.values())}
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, values[id(array)])
    for name, array in outputs.items():
        binding.bind_ortvalue_output(name, values[id(array)])

    # The values share the arrays' memory, and a binding keeps neither alive: the function does.
    def run(_keep=(inputs, outputs, values)):
        session.run_with_iobinding(binding)
        return outputs["out"]

    return run
