"""Random damage to bytes, text and values; everything is drawn from the generator passed in."""

from __future__ import annotations

import datetime
import decimal
import random
from typing import Any

import numpy as np
import pandas as pd

TOKENS = [
    "{}", "[]", "null", "~", "''", '"', "- ", ": ", "\t", "\n", "\0", "%", "190:20:30", "on", "---", "...",
    "!!python/object/apply:os.system ['exit 3']", "!!binary xx", "&a", "*a", "<<: *a", "? [a, b]",
    "2020-13-45", "#", "0b2", "0x_", "1e999", ".nan", "-.inf", "1_000", "9" * 400, "9" * 5000,
    "[" * 2000, "{a: " * 300, "é",
    "|", "\u202e", "\ud7ff", "名前", "../../etc/passwd", ">", "@", "`", "<script>", "-1", "0", "1e400",
    "&a [&b [1, 1], *b, *b, *b]",
]  # fmt: skip


def bytes_of(chance: random.Random, content: bytes) -> bytes:
    """Return the content with a few bytes changed, cut off, repeated, inserted or removed."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        place = chance.randrange(len(data)) if data else 0
        if chance.random() < 0.5:
            place = min(place, chance.randrange(64))  # headers are at the start
        sort = chance.randrange(7)
        if sort == 0 and data:
            data[place] ^= 1 << chance.randrange(8)
        elif sort == 1 and data:
            data[place] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        elif sort == 2:
            del data[place:]
        elif sort == 3:
            del data[place : place + chance.randrange(1, 64)]
        elif sort == 4:
            data[place:place] = chance.randbytes(chance.randrange(1, 32))
        elif sort == 5:
            data[place:place] = data[place : place + chance.randrange(1, 64)]
        else:
            data[place : place + 4] = chance.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4))
    return bytes(data)


def text_of(chance: random.Random, text: str) -> str:
    """Return the text with tokens inserted, lines dropped or repeated, or characters added or removed."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        lines = text.split("\n")
        at, place = chance.randrange(len(lines)), chance.randrange(len(text) + 1)
        sort = chance.randrange(6)
        if sort == 0:
            text = text[:place] + chance.choice(TOKENS) + text[place:]
        elif sort == 1:
            key, colon, _ = lines[at].partition(":")
            lines[at] = f"{key}{colon} {chance.choice(TOKENS)}"
            text = "\n".join(lines)
        elif sort == 2:
            text = "\n".join(lines[:at] + lines[at + 1 :])
        elif sort == 3:
            text = "\n".join([*lines[: at + 1], *lines[at : at + 2], *lines[at + 1 :]])
        elif sort == 4:
            text = text[:place] + text[place + chance.randrange(1, 12) :]
        else:
            odd = chr(chance.choice((0, 9, 34, 39, 58, 91, 123, 160, 0x2028, 0x1F600)))
            text = text[:place] + odd + text[place:]
    return text


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return a plain value of any type, sometimes nested."""
    if depth < 4 and chance.random() < 0.25:
        size = chance.randrange(4)
        if chance.random() < 0.5:
            return [value(chance, depth + 1) for _ in range(size)]
        keys = [chance.choice(("name", "kind", "", "a b", 1, "é")) for _ in range(size)]
        return {key: value(chance, depth + 1) for key in keys}
    return chance.choice(
        (None, True, False, 0, 1, -1, 2**31, 2**63, -(2**70), 10**400, 0.0, -0.5, 1e308, float("nan"),
         float("inf"), "", " ", "a", "comm", "image", "\0", "../..", "名", "x" * 10_000, "1e-3", "nan",
         datetime.date(2020, 1, 1))
    )  # fmt: skip


def replaced(chance: random.Random, tree: Any) -> Any:
    """Return the tree with one value replaced or dropped, or with one key renamed."""
    if chance.random() < 0.15 or not isinstance(tree, dict | list) or not tree:
        return value(chance)
    if isinstance(tree, list):
        at = chance.randrange(len(tree))
        return [*tree[:at], replaced(chance, tree[at]), *tree[at + 1 :]]
    key = chance.choice(list(tree))
    sort = chance.random()
    if sort < 0.1:
        return {name: inner for name, inner in tree.items() if name != key}
    if sort < 0.2:
        return {(value(chance, 9) if name == key else name): inner for name, inner in tree.items()}
    return {name: replaced(chance, inner) if name == key else inner for name, inner in tree.items()}


def cell(chance: random.Random) -> Any:
    """Return something that a cell of a table in memory could hold."""
    made = chance.randrange(14)
    if made == 0:
        return np.full(chance.randrange(5), chance.choice((0, 1, np.nan, np.inf, 1e300)))
    if made == 1:
        return np.zeros([chance.randrange(4) for _ in range(chance.randrange(5))], chance.choice("bifcUSO?M"))
    if made == 2:
        day, span = pd.Timestamp("2020-01-01"), pd.Interval(0, 1)
        return chance.choice((pd.NA, pd.NaT, day, span, decimal.Decimal("1.5")))
    if made == 3:
        return chance.choice((object, object(), len, b"", b"\x89PNG", 1 + 2j, {1, 2}, (), range(3)))
    if made == 4:
        return [chance.choice((0, 1.5, None, "x", [1, 2], np.nan)) for _ in range(chance.randrange(6))]
    if made == 5:
        lists = ("[1, 2", "[1, [2]]", "[]", "[null]", "[1e999]", '["a"]', "[" * 3000, "{}", "[true, 1]")
        return chance.choice(lists)
    if made == 6:
        places = ("/etc/passwd", "../x.npy", "missing.npy", ".", "\0", "a" * 5000, "con", "~/x", "http://x")
        return chance.choice(places)
    return value(chance)
