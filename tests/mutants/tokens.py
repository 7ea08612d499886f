"""C++ as a list of tokens, so that a rule holds wherever its code moves and however it is laid out."""
import re

TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|\s+|(?P<token>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[A-Za-z_]\w*|\.?\d(?:[eEpP][+-]|'|[\w.])*"""
    r"""|->\*|<=>|<<=|>>=|\.\.\.|::|->|\+\+|--|<<|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.)""",
    re.DOTALL | re.VERBOSE)
OPEN, CLOSE = {"(", "[", "{"}, {")", "]", "}"}


class RuleError(Exception):
    pass


def tokens_of(text):
    """[(token, start, end)], without comments and spaces."""
    return [(m["token"], m.start("token"), m.end("token")) for m in TOKEN.finditer(text) if m["token"]]


def bodies(tokens, name):
    """Ranges [first, last) of tokens in the braces of what is defined as `name`: a class, a function."""
    found = []
    for k, (token, _, _) in enumerate(tokens):
        if token != name:
            continue
        depth, at = 0, k + 1
        while at < len(tokens) and depth >= 0:
            word = tokens[at][0]
            if depth == 0 and word == ";":
                break
            if depth == 0 and word == "{":
                end = closing(tokens, at)
                found.append((at, end))
                break
            depth += (word in OPEN) - (word in CLOSE)
            at += 1
    return found


def closing(tokens, at):
    """One past the bracket that closes the one at `at`."""
    depth = 0
    for k in range(at, len(tokens)):
        depth += (tokens[k][0] in OPEN) - (tokens[k][0] in CLOSE)
        if depth == 0:
            return k + 1
    return len(tokens)


def matches(tokens, wanted, ranges):
    """Where `wanted` begins in the ranges, each place once and none over another."""
    words = [token for token, _, _ in tokens]
    found = []
    for first, last in sorted(set(ranges)):
        k = first
        while k + len(wanted) <= last:
            if words[k:k + len(wanted)] == wanted:
                if k not in found:
                    found.append(k)
                k += len(wanted)
            else:
                k += 1
    return sorted(found)


def mutated(rule, files):
    """The files that a rule changes, as {path: text}. `files` has all texts, with their tokens: {path: (text, tokens)}."""
    wanted = [token for token, _, _ in tokens_of(rule["find"])]
    changed, count = {}, 0
    for path, (text, tokens) in files.items():
        ranges = bodies(tokens, rule["within"]) if "within" in rule else [(0, len(tokens))]
        places = matches(tokens, wanted, ranges)
        count += len(places)
        for place in reversed(places):
            text = text[:tokens[place][1]] + rule["replace"] + text[tokens[place + len(wanted) - 1][2]:]
        if places:
            changed[path] = text
    if count != rule.get("count", 1):
        where = f" within {rule['within']}" if "within" in rule else ""
        raise RuleError(f"{rule['name']}: matches {count} times{where}, not {rule.get('count', 1)}: {rule['find']}")
    return changed
