"""What script/evaluate measures, how long it will take, and what does not fit the time.

Ranks go across the parts: where a machine is slow, each part still has its first measurements."""

from dataclasses import dataclass, field

PARTS = {
    "perplexity": "perplexity over length",
    "passkey": "passkey over length and depth",
    "needle": "needle in a haystack",
    "ablation": "the parts of Dual Chunk Attention",
    "tune": "chunk_size and local_window",
    "headline": "25 times the trained window",
}
STREAMS = {"streaming", "control"}  # methods whose queries see a window of the text at most


@dataclass
class Measurement:
    """One call of dca_lm, and the file that it writes. `work` are tokens that are read, pairs of a query and a key, and
    tokens whose successor is scored. Lower ranks come first where time is short."""

    part: str
    rank: int
    attention: str
    tokens: int
    arguments: list
    work: tuple
    depths: tuple = ()
    seed: int = 0
    covers: tuple = field(default=())  # names of measurements that this one contains
    turn: int = 0  # when it is made: as the first of those

    @property
    def name(self):
        seed = f"-seed{self.seed}" if self.seed > 1 else ""
        depths = "-at" + "_".join(f"{depth:g}" for depth in self.depths) if self.depths else ""
        kind = "perplexity" if self.arguments[0] == "ppl" else self.arguments[0]
        return f"{kind}-{self.attention}-{self.tokens}{depths}{seed}"

    @property
    def title(self):
        depths = f" at {', '.join(f'{depth:.0%}' for depth in self.depths)}" if self.depths else ""
        return f"{PARTS[self.part]}: {self.attention}, {self.tokens} tokens{depths}"


class Speed:
    """Seconds of a measurement, from two runs of plain perplexity: a part for every token, a part for every pair."""

    def __init__(self, short, long):
        (a, x), (b, y) = ((run["tokens"], run["seconds"]) for run in (short, long))
        self.pair = max(0.0, 2 * (y / b - x / a) / (b - a))
        self.token = max(0.0, x / a - self.pair * a / 2)
        self.start = 2.0  # the model is loaded

    def seconds(self, work):
        read, pairs, scored = work
        head = 0.35 * self.token  # what the vocabulary takes of a token's part in a calibration
        return self.start + read * (self.token - head) + scored * head + pairs * self.pair


class Catalogue:
    """All measurements for a trained window, at multiples of it."""

    def __init__(self, window, text):
        self.window, self.text = window, text
        self.chosen = max(1, window // 4)  # distant keys that dca+top visits
        self.all = []

    def perplexity(self, part, rank, attention, windows, covers=(), bucket=0.25, step=0.5, others=()):
        """bucket and a control's step in windows, too; `others` are further arguments of dca_lm."""
        tokens = int(windows * self.window)
        arguments = ["ppl", "--text", self.text, "--tokens", str(tokens), "--nll", "--bucket",
                     str(max(1, int(bucket * self.window))), *others]
        if attention == "control":
            arguments += ["--attention", "rope", "--context", str(self.window),
                          "--step", str(max(1, int(step * self.window)))]
        elif attention == "dca+top":
            arguments += ["--attention", "dca", "--inter", f"top:{self.chosen}"]
        else:
            arguments += ["--attention", attention]
        read, pairs = self.reading(attention, 0, tokens, step)
        turn = min([rank] + [one.rank for one in self.all if one.name in covers])
        self.all.append(Measurement(part, rank, attention, tokens, arguments, (read, pairs, tokens), covers=covers,
                                    turn=turn))
        return self.all[-1].name

    def reading(self, attention, first, tokens, step=0.5):
        """Tokens that are read and pairs, from position `first` to `tokens`."""
        window = min(self.window, tokens)
        read, pairs = tokens - first, (tokens * tokens - first * first) / 2
        if attention == "control":
            steps = 1 + max(0, -(-(tokens - window) // max(1, int(step * window))))
            return steps * window, steps * window * window / 2
        if attention == "streaming":
            seen = lambda length: length * length / 2 if length < window else length * window - window * window / 2
            return read, 1.15 * (seen(tokens) - seen(first))
        if attention == "intra":
            return read, read * 0.3 * window
        if attention == "dca+top":  # most of the chunk before, half of its own, what it chooses, and the choice
            return read, min(pairs, read * (window + self.chosen)) + pairs / 100
        return read, pairs * (1.3 if attention == "self-extend" else 1.0)

    def retrieval(self, part, rank, command, attention, windows, depths, seed=1):
        tokens = int(windows * self.window)
        arguments = [command, "--tokens", str(tokens), "--attention", attention, "--seed", str(seed),
                     "--depths", ",".join(f"{depth:g}" for depth in depths)]
        if command == "needle":
            arguments += ["--text", self.text]
        parts = [self.reading(attention, 0 if depth == max(depths) else int(depth * tokens), tokens)
                 for depth in depths]
        work = (sum(read for read, _ in parts), sum(pairs for _, pairs in parts), 0)
        self.all.append(Measurement(part, rank, attention, tokens, arguments, work, tuple(depths), seed, turn=rank))

    def tune(self, rank, windows, trials, speed):
        tokens = int(windows * self.window)
        work = (tokens, tokens * tokens / 2, tokens - self.window)
        seconds = trials * (speed.seconds(work) - speed.start)
        arguments = ["tune", "--text", self.text, "--tokens", str(tokens), "--budget-minutes", f"{seconds / 60:.2f}"]
        work = tuple(trials * amount for amount in work)
        self.all.append(Measurement("tune", rank, "dca", tokens, arguments, work, turn=rank))


FIVE, THREE = (0.1, 0.3, 0.5, 0.7, 0.9), (0.1, 0.5, 0.9)


def full(window, text, speed):
    c = Catalogue(window, text)
    for attention in ("yarn", "streaming", "self-extend", "control"):
        c.perplexity("perplexity", 10, attention, 4)
    for attention in ("ntk", "linear", "dca+yarn", "dca+ntk", "dca+top"):
        c.perplexity("perplexity", 45, attention, 4)
    lost = c.perplexity("perplexity", 10, "rope", 2)
    c.perplexity("perplexity", 57, "rope", 4, covers=(lost,))
    dca = c.perplexity("perplexity", 9, "dca", 4)
    for windows in (0.5, 1, 2):
        c.retrieval("passkey", 20, "passkey", "dca", windows, FIVE)
    c.retrieval("passkey", 21, "passkey", "rope", 1, THREE)
    c.retrieval("passkey", 21, "passkey", "rope", 2, THREE)
    for attention in ("intra", "intra+inter"):
        c.perplexity("ablation", 25, attention, 2)
        c.retrieval("ablation", 26, "passkey", attention, 2, THREE)
    c.retrieval("passkey", 30, "passkey", "dca", 4, THREE)
    for attention, windows in (("dca", 1), ("dca", 2), ("rope", 2)):
        c.retrieval("needle", 32, "needle", attention, windows, THREE)
    c.tune(40, 1.5, 8, speed)
    c.perplexity("perplexity", 50, "dca", 8, covers=(dca,))
    c.retrieval("passkey", 55, "passkey", "dca", 8, (0.5,))
    c.perplexity("perplexity", 56, "yarn", 8)
    c.retrieval("passkey", 70, "passkey", "dca", 3, THREE)
    c.retrieval("needle", 75, "needle", "dca", 4, THREE)
    c.retrieval("needle", 76, "needle", "streaming", 2, THREE)
    c.retrieval("passkey", 77, "passkey", "yarn", 2, THREE)
    c.retrieval("passkey", 78, "passkey", "rope", 4, (0.5,))
    for seed in (2, 3):
        c.retrieval("passkey", 80, "passkey", "dca", 2, THREE, seed)
        c.retrieval("needle", 81, "needle", "dca", 2, THREE, seed)
    c.retrieval("passkey", 90, "passkey", "yarn", 8, (0.5,))
    return c.all


def quick(window, text, speed):
    c = Catalogue(window, text)
    for rank, attention in ((10, "dca"), (10, "rope"), (20, "streaming"), (20, "control"), (40, "yarn"),
                            (70, "self-extend")):
        c.perplexity("perplexity", rank, attention, 1.25)
    for rank, attention in ((11, "dca"), (14, "rope")):
        c.retrieval("passkey", rank, "passkey", attention, 1.25, (0.1, 0.9))
    for rank, attention in ((12, "intra"), (30, "intra+inter")):
        c.perplexity("ablation", rank, attention, 1.25)
    for rank, attention in ((13, "dca"), (60, "rope")):
        c.retrieval("needle", rank, "needle", attention, 1.25, (0.5,))
    c.tune(15, 1.125, 2, speed)
    c.retrieval("ablation", 50, "passkey", "intra", 1.25, (0.1,))
    return c.all


def headline(window, text, speed):
    """As many times the window as Dual Chunk Attention's authors read; half precision, so that a laptop holds it. The
    control's windows do not overlap, which takes half the time: the first half of each but the first does not count."""
    c = Catalogue(window, text)
    for rank, attention in ((1, "dca+top"), (2, "control")):
        c.perplexity("headline", rank, attention, 25, bucket=1, step=1, others=("--kv-type", "half"))
    return c.all


CATALOGUES = {"full": full, "quick": quick, "headline": headline}


def choose(measurements, cost_of, seconds, text_tokens):
    """What fits the time, in order of rank; what does not; and what the text is too short for. cost_of(measurement) in
    seconds: 0 for those that are there."""
    chosen, cut, short = [], [], []
    spent = 0.0
    for one in sorted(measurements, key=lambda one: one.rank):
        needed = one.tokens + 1 if "--text" in one.arguments else 0
        cost = cost_of(one)
        covered = [other for other in chosen if other.name in one.covers]
        saved = sum(map(cost_of, covered))
        if needed > text_tokens:
            short.append(one)
        elif spent + cost - saved > seconds:
            cut.append(one)
        else:
            chosen = [other for other in chosen if other not in covered] + [one]
            spent += cost - saved
    order = list(PARTS)
    chosen.sort(key=lambda one: order.index(one.part))
    return chosen, cut, short
