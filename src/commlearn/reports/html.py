"""HTML by construction: whatever is not marked as HTML is text, and text is escaped."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Safe", "fold", "join", "script_json", "table", "tag"]

VOID = {"br", "img", "input", "link", "meta"}
NUMBER = re.compile(r"-?[\d,.]+( %)?( (to|±) -?[\d.]+)?$|-$")


class Safe(str):
    """HTML that is to be kept as it is."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Safe:
    """An element; children that are not Safe are escaped, attributes always.

    `class_` and `for_` lose their underscore, others become dashes; True is an attribute without value,
    False and None are no attribute.

    Example:
        >>> tag("p", "a < b", class_="note")
        '<p class="note">a &lt; b</p>'
    """
    attributes_text = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        shown = key.rstrip("_").replace("_", "-")
        attributes_text += f" {shown}" if value is True else f' {shown}="{html.escape(str(value))}"'
    if name in VOID:
        return Safe(f"<{name}{attributes_text}>")
    return Safe(f"<{name}{attributes_text}>{join(children)}</{name}>")


def join(parts: Iterable[Any]) -> Safe:
    """Parts one after the other, escaped unless Safe."""
    return Safe("".join(part if isinstance(part, Safe) else html.escape(str(part)) for part in parts))


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str = "") -> Safe:
    """A table that scrolls by itself where the page is narrow; the first cell of a row names it.

    Columns of numbers end at one line.
    """
    rows = [list(row) for row in rows]
    sides = ["n" if all(NUMBER.match(str(row[at])) for row in rows) else None for at in range(len(head))]
    top = tag("tr", *(tag("th", cell, scope="col", class_=at) for cell, at in zip(head, sides, strict=True)))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, class_=at) for cell, at in zip(row[1:], sides[1:], strict=True)),
        )
        for row in rows
    ]
    captions = [tag("caption", caption)] if caption else []
    inner = tag("table", *captions, tag("thead", top), tag("tbody", *body))
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption or "table")


def fold(summary: str, *children: Any) -> Safe:
    """Closed until asked for."""
    return tag("details", tag("summary", summary), *children)


def script_json(value: Any, name: str) -> Safe:
    """Plain values for the page's script; nothing in them can end the element or be read as HTML."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Safe(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')
