"""From the measurements of script/evaluate to a JSON file and a table for each part."""

import math

from common import result_file
from plan import PARTS

ORDER = ("dca", "dca+ntk", "dca+yarn", "dca+top", "rope", "linear", "ntk", "yarn", "self-extend", "streaming",
         "control", "intra", "intra+inter")


def by_order(attention):
    return ORDER.index(attention) if attention in ORDER else len(ORDER)


def mean_and_error(values):
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1) / len(values))


def counted(positions, control):
    """Those at which the control saw half its context at least, or all that there is before: the others do not count,
    in no result that is compared with it."""
    if control is None:
        return list(positions)
    context, step = control["context"], control["step"]
    head = context - context % step  # read as one from the beginning of the text
    seen = lambda position: context - step + (position - head) % step + 1
    return [position for position in positions if position < head or seen(position) > context // 2]


def exp(x):
    """Finite for any perplexity."""
    return math.exp(min(x, 709.0))


def buckets(result, control):
    """Perplexity of each bucket and its standard error, from the likelihoods of its tokens; the ratio to the control's
    and its error, from the differences token by token, where there is a control."""
    found = []
    for bucket in result["buckets"]:
        compared = control is not None and bucket["to"] <= len(control["nll"])
        places = counted(range(bucket["from"], bucket["to"]), control if compared else None)
        mean, error = mean_and_error([result["nll"][place] for place in places])
        found.append({"from": bucket["from"], "to": bucket["to"], "tokens": len(places), "perplexity": exp(mean),
                      "error": exp(mean) * error})
        if compared and result is not control:
            mean, error = mean_and_error([result["nll"][place] - control["nll"][place] for place in places])
            found[-1].update({"over_control": exp(mean), "over_control_error": exp(mean) * error})
    return found


def perplexity_record(one, result, control):
    numbers = {key: result[key] for key in ("chunk_size", "local_window", "inter", "rope_scale", "sinks", "window",
                                            "group", "context", "step", "kv_type", "key_offset", "peak_memory_bytes")
               if key in result}
    parts = buckets(result, control)
    return {"kind": "perplexity", "attention": one.attention, "tokens": one.tokens, **numbers,
            "perplexity": mean_of(parts), "seconds": result["seconds"],
            "tokens_per_second": one.tokens / result["seconds"], "buckets": parts}


def trial_records(one, result):
    kind = one.arguments[0]
    return [{"kind": kind, "attention": one.attention, "seed": one.seed, **trial} for trial in result["trials"]]


def place(trial):
    return trial["tokens"], trial["depth"], trial["seed"]


def collect(out, window, chosen, runner):
    """Part -> records. The ablation shows the whole of Dual Chunk Attention beside its parts, from the other parts."""
    records = {part: [] for part in PARTS}
    controls = {one.part: runner.result(one.name) for one in chosen if one.attention == "control"}
    controls.setdefault("ablation", controls.get("perplexity"))
    for one in chosen:
        result = runner.result(one.name)
        if one.part == "tune":
            records["tune"] = result["tried"]
            config = {"dual_chunk_attention_config": result["dual_chunk_attention_config"]}
            result_file.write_json(out / "dual_chunk_attention_config.json", config)
        elif one.arguments[0] == "ppl":
            control = controls.get(one.part)
            records[one.part].append(perplexity_record(one, control if one.attention == "control" else result, control))
        else:
            records[one.part] += trial_records(one, result)
    lengths = {record["tokens"] for record in records["ablation"] if record["kind"] == "perplexity"}
    for record in [record for record in records["perplexity"] if record["attention"] == "dca"][:1]:
        for tokens in lengths:
            cut = [bucket for bucket in record["buckets"] if bucket["to"] <= tokens]
            records["ablation"].append({**record, "tokens": tokens, "buckets": cut, "perplexity": mean_of(cut),
                                        "seconds": None, "tokens_per_second": None})  # those are of the whole run
    asked = {place(record) for record in records["ablation"] if record["kind"] == "passkey"}
    records["ablation"] += [record for record in records["passkey"]
                            if record["attention"] == "dca" and place(record) in asked]
    for part in ("perplexity", "ablation", "headline"):
        for record in records[part]:
            if record["kind"] == "perplexity":
                beyond = [bucket for bucket in record["buckets"] if bucket["from"] >= window]
                record["beyond_window"] = mean_of(beyond) if beyond else None
    return records


def mean_of(parts):
    tokens = sum(bucket["tokens"] for bucket in parts)
    return exp(sum(bucket["tokens"] * math.log(bucket["perplexity"]) for bucket in parts) / tokens)


def score(trials):
    """Share found, and its standard error (that of the rule of succession: not 0 for few trials that agree)."""
    right = sum(trial["correct"] for trial in trials)
    guess = (right + 1) / (len(trials) + 2)
    return right / len(trials), math.sqrt(guess * (1 - guess) / (len(trials) + 2))


def perplexity_table(records):
    records = sorted((r for r in records if r["kind"] == "perplexity"),
                     key=lambda r: (by_order(r["attention"]), r["tokens"]))
    if not records:
        return ""
    longest = max(records, key=lambda r: r["tokens"])["buckets"]
    heading = f"{'tokens':>15}" + "".join(f"{record['attention']:>18}" for record in records)

    def by_bucket(cell):
        lines = []
        for k, bucket in enumerate(longest):
            cells = [cell(r["buckets"][k]) if k < len(r["buckets"]) else "" for r in records]
            lines.append(f"{bucket['from']:7} {bucket['to']:7}" + "".join(f"{text:>18}" for text in cells))
        return lines

    lines = [heading, *by_bucket(lambda bucket: f"{bucket['perplexity']:.2f}")]
    lines.append(f"{'all':>15}" + "".join(f"{record['perplexity']:18.2f}" for record in records))
    for title, key, unit, digits in (
        ("beyond window", "beyond_window", 1, 2),
        ("minutes", "seconds", 60, 1),
        ("tokens/s", "tokens_per_second", 1, 0),
        ("memory, GB", "peak_memory_bytes", 1e9, 1),
    ):
        cells = [f"{r[key] / unit:18.{digits}f}" if r.get(key) is not None else f"{'':18}" for r in records]
        lines.append(f"{title:>15}" + "".join(cells))
    if any("over_control" in bucket for record in records for bucket in record["buckets"]):
        over = lambda bucket: (f"{100 * (bucket['over_control'] - 1):+.1f} ±{100 * bucket['over_control_error']:.1f}"
                               if "over_control" in bucket else "")
        lines += ["", "above the control, per cent, and its standard error", heading, *by_bucket(over)]
    return "\n".join(lines)


def retrieval_table(records, kind):
    trials = [record for record in records if record["kind"] == kind]
    depths = sorted({trial["depth"] for trial in trials})
    if not trials:
        return ""
    lines = [f"{'attention':12} {'tokens':>7}" + "".join(f"{depth:>7.0%}" for depth in depths) + "    found"]
    for attention, tokens in sorted({(t["attention"], t["tokens"]) for t in trials},
                                    key=lambda row: (by_order(row[0]), row[1])):
        row = [t for t in trials if t["attention"] == attention and t["tokens"] == tokens]
        cells = []
        for depth in depths:
            cell = [t for t in row if t["depth"] == depth]
            right = sum(t["correct"] for t in cell)
            cells.append(f"{right:>5}/{len(cell)}" if cell else f"{'':7}")
        share, error = score(row)
        chance = ""
        if kind == "needle":
            chance = f"   probability of the right word of ten: {sum(t['probability'] for t in row) / len(row):.0%}"
        lines.append(f"{attention:12} {tokens:7}" + "".join(cells) + f"   {share:4.0%} +- {error:.0%}{chance}")
    return "\n".join(lines)


def tune_table(records):
    if not records:
        return ""
    lines = [f"{'chunk_size':>10} {'local_window':>12} {'perplexity':>10} {'above the best':>18} {'tokens/s':>9}"]
    for one in sorted(records, key=lambda one: (one["chunk_size"], one["local_window"])):
        lines.append(f"{one['chunk_size']:10} {one['local_window']:12} {one['perplexity']:10.2f}"
                     f" {one['above_best']:9.2%} +- {one['above_best_error']:.2%}  {one['tokens_per_second']:9.0f}")
    return "\n".join(lines)


def table(part, records):
    if part == "tune":
        return tune_table(records)
    tables = [perplexity_table(records), retrieval_table(records, "passkey"), retrieval_table(records, "needle")]
    return "\n\n".join(text for text in tables if text)


def write(out, records):
    """Writes the JSON and the table of each part; all the tables."""
    texts = []
    for part, title in PARTS.items():
        if not records[part]:
            continue
        result_file.write_json(out / f"{part}.json", records[part])
        text = f"{title}\n\n{table(part, records[part])}\n"
        result_file.write(out / f"{part}.txt", text)
        texts.append(text)
    return "\n" + "\n".join(texts)
