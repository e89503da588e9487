"""Escape untrusted text, such as table cells, for terminals, CSV, Markdown and HTML."""

from __future__ import annotations

import contextlib
import html
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, marks that change the text direction, and lone surrogates."""
NOT_IN_NAMES = re.compile(r'[%\x00-\x1f/\\:*?"<>|]')
FORMULA = ("=", "+", "-", "@", "\t", "\r")
MARKS = re.compile(r"([\\`*\[\]|~!]|(?<!\w)_|_(?!\w))")


def printable(text: object) -> str:
    r"""Return text that cannot control a terminal: control characters are escaped as in Python.

    Example:
        >>> print(printable("\x1b[31mred"))
        \x1b[31mred
    """
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def one_line(text: object) -> str:
    r"""Return printable text as `printable` does, with newlines escaped too.

    Example:
        >>> print(one_line("a\n0 errors"))
        a\n0 errors
    """
    return printable(text).replace("\n", r"\n")


def file_name_part(text: object) -> str:
    """Return text for use in a file name: characters special to some file system become their codes.

    Example:
        >>> file_name_part("Action/Adventure")
        'Action%2FAdventure'
    """
    return NOT_IN_NAMES.sub(lambda match: f"%{ord(match[0]):02X}", str(text))


def spreadsheet_text(value: Any) -> Any:
    """Return a CSV cell that spreadsheets show and do not compute: text that could be a formula is quoted.

    Numbers, and text that is a number, are unchanged.

    Example:
        >>> spreadsheet_text("=1+1"), spreadsheet_text("-5"), spreadsheet_text(-5)
        ("'=1+1", '-5', -5)
    """
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def markdown(text: object) -> str:
    """Escape text for a line of Markdown or a cell of its tables: no HTML, no markup, no line break.

    Example:
        >>> markdown("<b>a|b</b>")
        '&lt;b&gt;a\\\\|b&lt;/b&gt;'
    """
    return MARKS.sub(r"\\\1", html.escape(one_line(text), quote=False))


def code_span(text: object) -> str:
    """Return text as code within a line of Markdown, fenced by more backticks than it has in a row.

    Example:
        >>> code_span("age"), code_span("a`b")
        ('`age`', '`` a`b ``')
    """
    line = one_line(text)
    longest = max(map(len, re.findall("`+", line)), default=0)
    space = " " if longest else ""
    return f"{'`' * (longest + 1)}{space}{line}{space}{'`' * (longest + 1)}"


def html_text(text: object) -> str:
    """Return text of several lines as HTML for a notebook, with all markup escaped.

    Example:
        >>> html_text("a < b")
        '<pre>a &lt; b</pre>'
    """
    return f"<pre>{html.escape(printable(text))}</pre>"


def html_table(title: str, head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML for a notebook, with all markup in its cells escaped.

    Example:
        >>> html_table("Two", ["a"], [["<b>"]])
        '<table><caption>Two</caption><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """

    def row(cells: Sequence[object], name: str) -> str:
        return f"<tr>{''.join(f'<{name}>{html.escape(printable(cell))}</{name}>' for cell in cells)}</tr>"

    lines = [row(head, "th"), *(row(cells, "td") for cells in rows)]
    return f"<table><caption>{html.escape(printable(title))}</caption>{''.join(lines)}</table>"


class _Escaped:
    """A stream that passes on only printable text."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Escape control characters in everything that is printed within this context."""
    out: Any = _Escaped(sys.stdout)
    errors: Any = _Escaped(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        yield


def terminal_stream(stream: Any) -> Any:
    """Return the unescaped stream if it is a terminal, for drawing with control characters; else the same."""
    return stream.stream if isinstance(stream, _Escaped) and stream.isatty() else stream
