"""Times prefill and decoding of this library beside PyTorch and ONNX Runtime: one process, one run, the implementations in turn.

Run by script/bench-peers, which makes what it needs. Every implementation gets the same inputs in the layout it likes
best, the same pinned cores and as many threads as there are cores of them; of the rounds of a case each keeps its best.
Before anything is timed the outputs are compared. FLOPs are those of the two products over the lower triangle, for all.
"""

import argparse
import os
import pathlib
import platform
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "script"))
import decode  # noqa: E402
import prefill  # noqa: E402
from common import options, result_file  # noqa: E402
from common.progress import Progress  # noqa: E402
from decode import DecodeCase, Tokens  # noqa: E402
from library import Library  # noqa: E402
from prefill import TYPES, Case, Inputs, as_tensor, rotated  # noqa: E402

PEERS = ("torch", "onnxruntime", "three_calls")
SETTLE_SECONDS = 0.004  # for the threads of the implementation before to stop spinning
SAMPLE_SECONDS = 0.01
ALLOWED_CORES = sorted(os.sched_getaffinity(0))


def thread_counts(text):
    """Of --threads."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = []
    most = len(ALLOWED_CORES)
    if not counts or counts[0] < 1 or counts[-1] > most:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers from 1 to {most}, the cores for this process, such as 1,2")
    return counts


def cases(quick, threads):
    """(length, heads, chunk_size, local_window): more than one head, because some peers share out only heads."""
    shapes = [(512, 1, 384, 64), (512, 4, 384, 64), (4096, 4, 1152, 128), (8192, 2, 2304, 256), (16384, 2, 2304, 256)]
    return [
        Case(dtype, length, head_dim, heads, count, chunk_size, local_window)
        for dtype in TYPES
        for length, heads, chunk_size, local_window in shapes
        if not (quick and dtype == "bfloat16" and length == 16384)
        for head_dim in (64, 128)
        for count in threads
    ]


def decode_cases(quick, threads):
    """One sequence, one token; heads alone and in groups of four; what this library stores in few bits beside itself."""
    lengths = (32768,) if quick else (4096, 32768)
    plain = [(dtype, dtype, heads) for dtype in TYPES for heads in (8, 32)]
    small = [("float", kv_type, heads) for kv_type in ("half", "int8", "int4") for heads in (8, 32)]
    return [
        DecodeCase(dtype, kv_type, length, 128, heads, 8, count)
        for length in lengths
        for dtype, kv_type, heads in plain + small
        for count in threads
    ]


def runs_of(library, case):
    """Name -> function to time."""
    if case.kind == "decode":
        tokens = Tokens(case)
        return {name: make(library, case, tokens) for name, make in decode.implementations(case).items()}
    inputs = Inputs.random(case)
    return {name: make(case, inputs) for name, make in prefill.implementations(library, case.dtype).items()}


def pin(threads):
    """Keeps this process, with the threads that it has by now, on its first `threads` cores."""
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), ALLOWED_CORES[:threads])
        except ProcessLookupError:
            pass  # it has just ended


def check(library):
    """Whoever computes the same thing must come to the same output; three chunks and a bit."""
    for dtype, allowed in (("float", 1e-3), ("bfloat16", 3e-2)):
        for head_dim in (64, 128):
            case = Case(dtype, 1000, head_dim, 2, 1, 384, 64)
            inputs = Inputs.random(case)
            makers = prefill.implementations(library, dtype)
            out = {name: as_tensor(make(case, inputs)(), case) for name, make in makers.items()}
            for name, ours in (("torch", "dca_causal"), ("onnxruntime", "dca_causal"), ("three_calls", "dca")):
                if name not in out:
                    continue
                difference = (out[name] - out[ours]).abs().max().item()
                print(f"  {dtype:8} D={head_dim:3}: {name} and {ours} differ by at most {difference:.1e}")
                if not difference < allowed:
                    sys.exit(f"bench_peers.py: that is more than {allowed}: nothing is timed")


def check_decoding(library):
    """Where all keys lie in the query's chunk, nothing is remapped but the query and keys: all must agree then."""
    for dtype, allowed in (("float", 1e-3), ("bfloat16", 3e-2)):
        for heads in (8, 32):
            case = DecodeCase(dtype, dtype, 1000, 128, heads, 8, 1)
            tokens = Tokens(case)
            runs = {name: make(library, case, tokens) for name, make in decode.implementations(case).items()}
            ours = torch.as_tensor(runs["dca"]()).float()
            tokens.key = rotated(tokens.key, torch.arange(case.length))
            tokens.query = rotated(tokens.query, torch.tensor([case.length - 1]))
            for name, make in decode.implementations(case).items():
                if name == "dca":
                    continue
                out = torch.as_tensor(make(library, case, tokens)()).float().reshape(ours.shape)
                difference = (out - ours).abs().max().item()
                print(f"  {dtype:8} decode, {heads:2} heads: {name} and dca differ by at most {difference:.1e}")
                if not difference < allowed:
                    sys.exit(f"bench_peers.py: that is more than {allowed}: nothing is timed")


def sample(run, expected):
    """Seconds of the fastest of a few calls in a row; long calls are made once."""
    time.sleep(SETTLE_SECONDS)
    best = float("inf")
    for _ in range(max(1, min(50, int(SAMPLE_SECONDS / expected)))):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def time_case(library, case, rounds, seconds):
    """Best seconds of each implementation, taking turns for `rounds` rounds or more until `seconds` have passed; and
    the machine's limit, measured among them: FLOP/s for prefill, bytes read per second for decoding."""
    torch.set_num_threads(case.threads)
    runs = runs_of(library, case)
    pin(case.threads)
    best, limit = {}, 0.0
    for name, run in runs.items():  # first call: threads start, memory is taken
        start = time.perf_counter()
        run()
        best[name] = time.perf_counter() - start
    pin(case.threads)
    names = list(runs)
    deadline, turn = time.monotonic() + seconds, 0
    while turn < rounds or (time.monotonic() < deadline and turn < 100):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            best[name] = min(best[name], sample(runs[name], best[name]))
        measure = library.read_bandwidth if case.kind == "decode" else lambda n: library.fma_peak(n, 2)
        limit = max(limit, measure(case.threads))
        turn += 1
    return best, limit


def records(case, best, limit, peak):
    ratio = lambda peer, name: round(best[peer] / best[name], 4) if peer in best else None
    if case.kind == "decode":
        special = lambda seconds: {"kv_type": case.kv_type, "gbytes_per_s": round(case.stored_bytes / seconds * 1e-9, 2),
                                   "of_bandwidth": round(case.stored_bytes / seconds / limit, 4)}
    else:
        special = lambda seconds: {"chunk_size": case.chunk_size, "local_window": case.local_window}
    return [
        {
            "name": case.name, "impl": name, "dtype": case.dtype, "L": case.length, "D": case.head_dim,
            "heads": case.heads, "kv_heads": case.kv_heads, "threads": case.threads, **special(seconds),
            "seconds": seconds, "gflops": round(case.flops / seconds * 1e-9, 2),
            "of_peak": round(case.flops / seconds / peak, 4),
            **{f"over_{peer}": ratio(peer, name) for peer in PEERS},
        }
        for name, seconds in best.items()
    ]


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def print_header(library, threads):
    import onnxruntime

    peaks = [library.fma_peak(count) * 1e-9 for count in threads]
    reads = [library.read_bandwidth(count) * 1e-9 for count in threads]
    on_threads = lambda values: ", ".join(f"{value:.0f} on {count}" for count, value in zip(threads, values))
    print(f"""machine       {processor()}, {len(ALLOWED_CORES)} cores for this process
dca           compiled for {library.instruction_set}
torch         {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}
onnxruntime   {onnxruntime.__version__}
GFLOP/s       {on_threads(peaks)} threads at best ({library.fma_peak_method})
GB/s read     {on_threads(reads)} threads
RoPE          inside the timing for dca, dca_causal and onnxruntime; done beforehand for torch and three_calls
three_calls   up to three of PyTorch's flash attentions per chunk and a merge, as DCA's authors do""")
    if peaks[-1] / threads[-1] < 0.75 * peaks[0] / threads[0]:
        print(f"\n{threads[-1]} threads multiply {peaks[-1] / peaks[0]:.1f} times as fast as {threads[0]}: the cores are"
              f" busy, or are halves of one.\nWhat is said below of {threads[-1]} threads is worth little.")


def print_table(results, limits):
    print(f"\n{'':33}GFLOP/s: {'':26}dca: of  dca is faster than")
    print(f"{'dtype':8} {'L':>5} {'D':>3} {'heads':>5} {'threads':>7} |   dca causal  torch  three   onnx |"
          "  peak | torch three  onnx")
    for case, best in results:
        peak = limits[case]
        speed = lambda name: f"{case.flops / best[name] * 1e-9:6.1f}" if name in best else "     -"
        faster = lambda name: f"{best[name] / best['dca']:5.2f}" if name in best else "    -"
        print(f"{case.dtype:8} {case.length:5} {case.head_dim:3} {case.heads:5} {case.threads:7} |"
              f"{speed('dca')} {speed('dca_causal')} {speed('torch')} {speed('three_calls')} {speed('onnxruntime')} |"
              f" {case.flops / best['dca'] / peak:5.1%} |"
              f" {faster('torch')} {faster('three_calls')} {faster('onnxruntime')}")
    peaks = {case.threads: limits[case] for case, _ in results}
    shown = ", ".join(f"{peak * 1e-9:.1f} GFLOP/s on {threads}" for threads, peak in sorted(peaks.items()))
    print(f"\npeak: of fused multiply-adds in float, whatever the dtype; measured between all the rounds, best {shown}"
          " threads."
          "\nbfloat16 is how tensors are stored, dca computes in float; onnxruntime has no bfloat16 on CPUs.")


def print_decode_table(results, limits):
    times = {(case, "dca"): best["dca"] for case, best in results}
    print(f"\none token{'':33} microseconds: {'':16} dca: of read |   dca is faster than  | over float")
    print(f"{'kv_type':8} {'kv_len':>6} {'D':>3} {'heads':>6} {'threads':>7} |{'dca':>9}{'torch':>10}{'onnx':>10}"
          f" |{'bandwidth':>10} |{'torch':>10}{'onnx':>10}  |{'tokens/s':>9}")
    for case, best in results:
        micros = lambda name: f"{best[name] * 1e6:10.0f}" if name in best else "         -"
        faster = lambda name: f"{best[name] / best['dca']:10.2f}" if name in best else "         -"
        same = [b for (c, _), b in times.items() if (c.kv_type, c.length, c.heads, c.threads) ==
                ("float", case.length, case.heads, case.threads)]
        print(f"{case.kv_type:8} {case.length:6} {case.head_dim:3} {case.heads:3}/{case.kv_heads:<2} {case.threads:7} |"
              f"{micros('dca')[1:]}{micros('torch')}{micros('onnxruntime')} |"
              f"{case.stored_bytes / best['dca'] / limits[case]:10.1%} |{faster('torch')}{faster('onnxruntime')}  |"
              f"{same[0] / best['dca']:9.2f}")
    reads = {}
    for case, _ in results:
        reads.setdefault(case.threads, []).append(limits[case] * 1e-9)
    shown = ", ".join(f"{min(all_reads):.1f} to {max(all_reads):.1f} GB/s on {threads}"
                      for threads, all_reads in sorted(reads.items()))
    print("\nbandwidth: bytes of the keys and values as they are stored, per second, over the most that the machine reads"
          f" among\nthe rounds of the same line: {shown} threads.")


def main():
    parser = argparse.ArgumentParser(description="Prefill and decoding beside PyTorch and ONNX Runtime.")
    parser.add_argument("--library", required=True, help="path of the shared library dca_bench_peers")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no bfloat16 at L = 16384")
    parser.add_argument("--only", choices=("prefill", "decode"), help="one of the two")
    parser.add_argument("--threads", type=thread_counts, metavar="N,M", default=[1, 2][:len(ALLOWED_CORES)],
                        help="numbers of threads; 1,2 unless given")
    parser.add_argument("--json", type=options.output_file, help="write the results here")
    arguments = parser.parse_args()
    library = Library(arguments.library)
    rounds, seconds = (3, 2.0) if arguments.quick else (7, 10.0)

    torch.set_num_threads(1)
    pin(len(ALLOWED_CORES))
    print_header(library, arguments.threads)
    print("\nthe outputs before the timing:")
    check(library)
    check_decoding(library)
    all_cases = cases(arguments.quick, arguments.threads) + decode_cases(arguments.quick, arguments.threads)
    todo = [case for case in all_cases if arguments.only in (None, case.kind)]
    # Five implementations at about half the peak.
    speed = 0.1 * library.fma_peak(1)
    work = [2.0 + max(seconds, (rounds + 1) * case.flops / case.threads / speed) for case in todo]
    progress, results, limits = Progress(sum(work)), [], {}
    for case, amount in zip(todo, work):
        progress.show(f"{case.name} {case.dtype} heads={case.heads} threads={case.threads}")
        best, limits[case] = time_case(library, case, rounds, seconds)
        results.append((case, best))
        progress.add(amount)
    progress.clear()
    # The peak of a core hardly changes: the most of a run is that of all its cases. What memory gives moves.
    prefills = [case for case in todo if case.kind == "prefill"]
    peaks = {case.threads: library.fma_peak(case.threads) for case in todo}
    peaks |= {case.threads: max(limits[other] for other in prefills if other.threads == case.threads) for case in prefills}
    limits |= {case: peaks[case.threads] for case in prefills}
    if arguments.json:  # before the tables, which may find a full disk
        all_records = [record for case, best in results
                       for record in records(case, best, limits[case], peaks[case.threads])]
        result_file.write_json(arguments.json, all_records)
    of_kind = lambda kind: [(case, best) for case, best in results if case.kind == kind]
    if of_kind("prefill"):
        print_table(of_kind("prefill"), limits)
    if of_kind("decode"):
        print_decode_table(of_kind("decode"), limits)
    if arguments.quick:
        print(f"--quick: {rounds} rounds or {seconds:.0f} s a case, no bfloat16 at L = 16384, no decoding at kv_len 4096.")


if __name__ == "__main__":
    main()
