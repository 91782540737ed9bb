"""JSON text for people: indented as it stands, also if it was cut or is none.

It is not parsed: numbers stay as they are written, and half a document is shown as half a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PARTS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_INDENT = "  "
_DEEPEST = 40  # levels that are indented: further ones would be nothing but space


def indented(text: str, most: int) -> str:
    """Return the JSON text on lines of their own, ``most`` characters of it."""
    written: list[str] = []
    length = 0
    for piece in _pieces(text):
        written.append(piece)
        length += len(piece)
        if length > most:
            break
    return "".join(written)[:most]


def _pieces(text: str) -> Iterator[str]:
    depth = 0
    before = ""
    for found in _PARTS.finditer(text):
        part = found[0]
        if part in ("]", "}"):
            depth = max(0, depth - 1)
            if before not in ("[", "{"):
                yield _line(depth)
        elif before in ("[", "{"):
            yield _line(depth)
        yield part
        if part in ("[", "{"):
            depth += 1
        elif part == ",":
            yield _line(depth)
        elif part == ":":
            yield " "
        before = part


def _line(depth: int) -> str:
    return "\n" + _INDENT * min(depth, _DEEPEST)
