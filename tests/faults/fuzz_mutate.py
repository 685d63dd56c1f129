"""Seeded damage: bytes of any file, and words and lines of texts."""

import json
import re

import numpy as np

# Where parsers go wrong: sizes and counts of all ones, of the sign bit, of nothing.
_VALUES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 10**9)
_WORDS = (
    *("-1", "0", "1e309", "-1e309", "nan", "inf", "9" * 5000, "1e-400", "0x10", "1_0", "٣", "²"),
    *("", " ", '"', "'", "\x00", "\ufeff", "\u202e", "<script>", "../../x", "/etc/passwd", "\\"),
    *("[" * 20000, "{" * 500, '{"a":' * 300, "null", "true", "[]", "{}", "a" * 200_000, "=1+1"),
    *("18446744073709551616", "-9223372036854775809", "1.5", "00:00:-1", "99:99:99", "\U0001f600"),
)
_ODD = (
    *(None, True, -1, 0, 1, 2, 0.5, -1e308, 1e308, float("nan"), float("inf"), 10**9, 2**63),
    *(10**40, "", "x", "-1", "../../../etc/passwd", "/etc/passwd", "\x00", "\x1b]0;x\x07"),
    *("<script>alert(1)</script>", "\ud800", "a" * 100_000, [], {}, [[]], [1, 2], {"a": None}),
)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped, values overwritten, pieces cut, doubled, blanked or put in, once or oftener."""
    out = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 8]))):
        at = _place(len(out), rng)
        length = min(len(out) - at, int(2 ** rng.uniform(0, 12)))
        how = int(rng.integers(9))
        if how == 0 and out:
            out[at] ^= 1 << int(rng.integers(8))
        elif how == 1 and out:
            out[at] = int(rng.integers(256))
        elif how in (2, 3):
            size = int(rng.choice([1, 2, 4, 8]))
            value = int(rng.choice(_VALUES)) & (256**size - 1)
            out[at : at + size] = value.to_bytes(size, "big" if how == 2 else "little")
        elif how == 4:
            del out[at : at + length]
        elif how == 5:
            out[at:at] = out[at : at + length]
        elif how == 6:
            out[at : at + length] = bytes(length)
        elif how == 7:
            out[at : at + length] = rng.bytes(length)
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def mutate_text(data: bytes, rng: np.random.Generator) -> bytes:
    """Words exchanged for odd ones, lines dropped, doubled and moved; now and then plain bytes."""
    if rng.random() < 0.2:
        return mutate(data, rng)
    text = data.decode("utf-8", "replace")
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        how = int(rng.integers(6))
        lines = text.splitlines(keepends=True)
        if how <= 2:
            words = list(re.finditer(r"[\w.+-]+", text))
            if words:
                word = words[int(rng.integers(len(words)))]
                odd = _WORDS[int(rng.integers(len(_WORDS)))]
                text = text[: word.start()] + odd + text[word.end() :]
        elif how == 3 and lines:
            at = int(rng.integers(len(lines)))
            again = int(rng.choice([0, 2, min(1000, 2**24 // (len(lines[at]) + 1))]))
            text = "".join(lines[:at] + [lines[at]] * again + lines[at + 1 :])
        elif how == 4 and lines:
            text = "".join(lines[i] for i in rng.permutation(len(lines)))
        elif how == 5:
            old, new = rng.choice([",", ";", "\t", "\n", '"', ":", " ", "\r"], 2)
            text = text.replace(old, new, int(rng.integers(1, 50)))
    return text.encode("utf-8", "surrogatepass")


def mutate_json(data: bytes, rng: np.random.Generator) -> bytes:
    """One value of a JSON file, or one line of a .jsonl, exchanged for an odd one, or gone."""
    lines = data.splitlines() if data.count(b"\n") > 1 and data[:1] == b"{" else [data]
    chosen = int(rng.integers(len(lines)))
    try:
        value = json.loads(lines[chosen])
        assert isinstance(value, dict)
    except (ValueError, AssertionError):  # not a line by itself
        lines, chosen, value = [data], 0, json.loads(data)
    places = list(_places(value))
    node, key = places[int(rng.integers(len(places)))]
    odd = _ODD[int(rng.integers(len(_ODD)))]
    if isinstance(node, dict) and rng.random() < 0.15:
        node[str(odd)[:1000]] = node.pop(key)
    elif rng.random() < 0.15:
        del node[key]
    else:
        node[key] = odd
    lines[chosen] = json.dumps(value).encode()
    return b"\n".join(lines) + b"\n"


def _places(value):
    """(container, key) of every value in a tree of JSON."""
    for key in range(len(value)) if isinstance(value, list) else list(value):
        yield value, key
        if isinstance(value[key], dict | list) and value[key]:
            yield from _places(value[key])


def _place(length: int, rng: np.random.Generator) -> int:
    """A position: in the head, in the tail, or anywhere."""
    kind, whole = rng.random(), max(1, length)
    if kind < 0.25:
        return int(rng.integers(min(512, whole)))
    if kind < 0.45:
        return whole - 1 - int(rng.integers(min(2048, whole)))
    return int(rng.integers(whole))
