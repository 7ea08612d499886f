"""Times prefill of this library beside PyTorch and ONNX Runtime: one process, one run, the implementations in turn.

Run by script/bench-peers, which makes what it needs. Every implementation gets the same inputs in the layout it likes
best, the same pinned cores and as many threads as there are cores; of the rounds of a case each keeps its best. Before
anything is timed the outputs are compared. FLOPs are those of the two products over the lower triangle, for all.
"""

import argparse
import json
import os
import platform
import sys
import time

import torch

from peers_implementations import TYPES, Case, Inputs, Library, as_tensor, implementations

PEERS = ("torch", "onnxruntime", "three_calls")
SETTLE_SECONDS = 0.004  # for the threads of the implementation before to stop spinning
SAMPLE_SECONDS = 0.01
ALLOWED_CORES = sorted(os.sched_getaffinity(0))


def cases(quick):
    """(length, heads, chunk_size, local_window): more than one head, because some peers share out only heads."""
    shapes = [(512, 1, 384, 64), (512, 4, 384, 64), (4096, 4, 1152, 128), (8192, 2, 2304, 256), (16384, 2, 2304, 256)]
    most = min(2, len(ALLOWED_CORES))
    return [
        Case(dtype, length, head_dim, heads, threads, chunk_size, local_window)
        for dtype in TYPES
        for length, heads, chunk_size, local_window in shapes
        if not (quick and dtype == "bfloat16" and length == 16384)
        for head_dim in (64, 128)
        for threads in range(1, most + 1)
    ]


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
            makers = implementations(library, dtype)
            out = {name: as_tensor(make(case, inputs)(), case) for name, make in makers.items()}
            for name, ours in (("torch", "dca_causal"), ("onnxruntime", "dca_causal"), ("three_calls", "dca")):
                if name not in out:
                    continue
                difference = (out[name] - out[ours]).abs().max().item()
                print(f"  {dtype:8} D={head_dim:3}: {name} and {ours} differ by at most {difference:.1e}")
                if not difference < allowed:
                    sys.exit(f"bench/peers.py: that is more than {allowed}: nothing is timed")


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
    the peak in FLOP/s, measured among them."""
    torch.set_num_threads(case.threads)
    inputs = Inputs.random(case)
    runs = {name: make(case, inputs) for name, make in implementations(library, case.dtype).items()}
    pin(case.threads)
    best, peak = {}, 0.0
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
        peak = max(peak, library.fma_peak(case.threads, 2))
        turn += 1
    return best, peak


def records(case, best, peak):
    ratio = lambda peer, name: round(best[peer] / best[name], 4) if peer in best else None
    return [
        {
            "name": f"prefill_L{case.length}_D{case.head_dim}", "impl": name, "dtype": case.dtype, "L": case.length,
            "D": case.head_dim, "heads": case.heads, "kv_heads": case.heads, "threads": case.threads,
            "chunk_size": case.chunk_size, "local_window": case.local_window,
            "seconds": seconds, "gflops": round(case.flops / seconds * 1e-9, 2),
            "of_peak": round(case.flops / seconds / peak, 4), **{f"over_{peer}": ratio(peer, name) for peer in PEERS},
        }
        for name, seconds in best.items()
    ]


class Progress:
    """A bar with the time left, on standard error, where that is a terminal. Work is counted in expected seconds."""

    def __init__(self, total):
        self._total, self._done, self._start = total, 0.0, time.monotonic()
        self._shown = sys.stderr.isatty()

    def show(self, what):
        if not self._shown:
            return
        share = self._done / self._total
        passed = time.monotonic() - self._start
        left = f"{passed / share - passed:4.0f} s left" if share > 0 else f"about {self._total:.0f} s"
        full = int(30 * share)
        sys.stderr.write(f"\r\033[K[{'#' * full}{'.' * (30 - full)}] {share:4.0%} {left}  {what}")
        sys.stderr.flush()

    def add(self, work):
        self._done += work

    def clear(self):
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def print_header(library):
    import onnxruntime

    most = min(2, len(ALLOWED_CORES))
    peaks = [library.fma_peak(threads) * 1e-9 for threads in range(1, most + 1)]
    reads = [library.read_bandwidth(threads) * 1e-9 for threads in range(1, most + 1)]
    on_threads = lambda values: ", ".join(f"{value:.0f} on {k + 1}" for k, value in enumerate(values))
    print(f"""machine       {processor()}, {len(ALLOWED_CORES)} cores for this process
dca           compiled for {library.instruction_set}
torch         {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}
onnxruntime   {onnxruntime.__version__}
GFLOP/s       {on_threads(peaks)} threads at best ({library.fma_peak_method})
GB/s read     {on_threads(reads)} threads
RoPE          inside the timing for dca, dca_causal and onnxruntime; done beforehand for torch and three_calls
three_calls   up to three of PyTorch's flash attentions per chunk and a merge, as DCA's authors do""")
    if peaks[-1] < 0.75 * most * peaks[0]:
        print(f"\nTwo threads multiply {peaks[-1] / peaks[0]:.1f} times as fast as one: the cores are busy, or are"
              " halves of one.\nWhat is said below of two threads is worth little.")


def print_table(results, peaks):
    print(f"\n{'':33}GFLOP/s: {'':26}dca: of  dca is faster than")
    print(f"{'dtype':8} {'L':>5} {'D':>3} {'heads':>5} {'threads':>7} |   dca causal  torch  three   onnx |"
          "  peak | torch three  onnx")
    for case, best, peak in results:
        speed = lambda name: f"{case.flops / best[name] * 1e-9:6.1f}" if name in best else "     -"
        faster = lambda name: f"{best[name] / best['dca']:5.2f}" if name in best else "    -"
        print(f"{case.dtype:8} {case.length:5} {case.head_dim:3} {case.heads:5} {case.threads:7} |"
              f"{speed('dca')} {speed('dca_causal')} {speed('torch')} {speed('three_calls')} {speed('onnxruntime')} |"
              f" {case.flops / best['dca'] / peak:5.1%} |"
              f" {faster('torch')} {faster('three_calls')} {faster('onnxruntime')}")
    shown = ", ".join(f"{peak * 1e-9:.1f} GFLOP/s on {threads}" for threads, peak in sorted(peaks.items()))
    print(f"\npeak: of fused multiply-adds in float, whatever the dtype; measured between all the rounds, best {shown}"
          " threads."
          "\nbfloat16 is how tensors are stored, dca computes in float; onnxruntime has no bfloat16 on CPUs.")


def main():
    parser = argparse.ArgumentParser(description="Prefill beside PyTorch and ONNX Runtime.")
    parser.add_argument("--library", required=True, help="path of the shared library dca_bench_peers")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no bfloat16 at L = 16384")
    parser.add_argument("--json", help="write the results here")
    arguments = parser.parse_args()
    library = Library(arguments.library)
    rounds, seconds = (3, 2.0) if arguments.quick else (7, 10.0)

    torch.set_num_threads(1)
    pin(len(ALLOWED_CORES))
    print_header(library)
    print("\nthe outputs before the timing:")
    check(library)
    todo = cases(arguments.quick)
    # Five implementations at about half the peak.
    speed = 0.1 * library.fma_peak(1)
    work = [2.0 + max(seconds, (rounds + 1) * case.flops / case.threads / speed) for case in todo]
    progress, results, peaks = Progress(sum(work)), [], {}
    for case, amount in zip(todo, work):
        progress.show(f"{case.dtype} L={case.length} D={case.head_dim} heads={case.heads} threads={case.threads}")
        best, peak = time_case(library, case, rounds, seconds)
        peaks[case.threads] = max(peaks.get(case.threads, 0.0), peak)
        results.append((case, best))
        progress.add(amount)
    progress.clear()
    results = [(case, best, peaks[case.threads]) for case, best in results]
    print_table(results, peaks)
    if arguments.quick:
        print(f"--quick: {rounds} rounds or {seconds:.0f} s a case, and no bfloat16 at L = 16384.")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump([record for result in results for record in records(*result)], file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
