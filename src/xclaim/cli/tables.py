"""Tables for people, as wide as their terminal: names and numbers are never cut."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rich.cells import cell_len, chop_cells

from xclaim.arguments import visible
from xclaim.cli.json_text import json_text

# What is folded when there is no room for it; all other columns keep their width.
_FOLDED = ("payload", "last_error", "error", "found", "remedy", "promise", "examples")
_LEAST = 10  # columns of the screen for what is folded
_MOST = 100  # the same, where nobody says how wide the output is
_GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    name: str
    title: str
    cells: list[str]
    is_number: bool

    @property
    def is_folded(self) -> bool:
        return self.name in _FOLDED

    @property
    def content(self) -> int:
        """How wide its widest cell is."""
        return max(map(cell_len, self.cells), default=0)

    def least(self, *, wrapped: bool) -> int:
        """Return how narrow it may be, with its title in one line or wrapped at its blanks."""
        title = max(map(cell_len, self.title.split())) if wrapped else cell_len(self.title)
        return max(title, min(self.content, _LEAST) if self.is_folded else self.content)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Return some columns of the rows: side by side where they fit, else one below the other."""
    drawn = [_column(name, rows) for name in columns]
    width = _width()
    widths = _widths(drawn, width)
    if widths is None:
        lines = list(_below_each_other(drawn, len(rows), width or _MOST))
    else:
        lines = list(_side_by_side(drawn, widths, len(rows)))
    text = "\n".join(line.rstrip() for line in lines)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if not encoding.lower().startswith("utf"):
        text = text.replace("─", "-")
    return text.encode(encoding, errors="replace")


def _width() -> int | None:
    """Return how wide the terminal is; None: the output goes elsewhere, as wide as it likes."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (AttributeError, OSError, ValueError):
        return None


def _column(name: str, rows: Sequence[Mapping[str, Any]]) -> _Column:
    values = [row.get(name) for row in rows]
    numbers = [
        isinstance(value, int | float | Decimal | timedelta) and not isinstance(value, bool)
        for value in values
        if value is not None
    ]
    return _Column(
        name=name,
        title=name.replace("_", " ") + (" (UTC)" if name.endswith("_at") else ""),
        cells=[_cell(name, value) for value in values],
        is_number=bool(numbers) and all(numbers) and name != "payload",
    )


def _widths(columns: Sequence[_Column], width: int | None) -> list[int] | None:
    """Return how wide each column is; None if even the narrowest do not fit."""
    if width is None:
        return [max(column.least(wrapped=False), min(column.content, _MOST)) for column in columns]
    gaps = len(_GAP) * (len(columns) - 1)
    for wrapped in (False, True):
        widths = [column.least(wrapped=wrapped) for column in columns]
        left = width - gaps - sum(widths)
        if left >= 0:
            for index, column in enumerate(columns):
                more = min(left, max(0, column.content - widths[index]))
                widths[index] += more
                left -= more
            return widths
    return None


def _side_by_side(columns: Sequence[_Column], widths: Sequence[int], count: int) -> Iterator[str]:
    titles = [_wrapped(column.title, width) for column, width in zip(columns, widths, strict=True)]
    yield from _joined(columns, widths, titles)
    yield _GAP.join("─" * width for width in widths)
    for row in range(count):
        cells = [
            _folded(column.cells[row], width) for column, width in zip(columns, widths, strict=True)
        ]
        yield from _joined(columns, widths, cells)


def _joined(
    columns: Sequence[_Column], widths: Sequence[int], cells: Sequence[list[str]]
) -> Iterator[str]:
    for line in range(max(map(len, cells), default=0)):
        parts = [cell[line] if line < len(cell) else "" for cell in cells]
        yield _GAP.join(
            _padded(part, width, is_right=column.is_number)
            for column, part, width in zip(columns, parts, widths, strict=True)
        )


def _below_each_other(columns: Sequence[_Column], count: int, width: int) -> Iterator[str]:
    names = max(cell_len(column.title) for column in columns)
    room = width - names - len(_GAP)
    rigid = max((column.content for column in columns if not column.is_folded), default=0)
    is_wide = room >= max(rigid, _LEAST)
    for row in range(count):
        yield "─" * width
        for column in columns:
            if is_wide:
                first, *more = _folded(column.cells[row], room)
                yield _padded(column.title, names, is_right=False) + _GAP + first
                yield from (" " * names + _GAP + line for line in more)
            else:
                yield from _wrapped(column.title, width)
                cell = column.cells[row]
                gap = _GAP if cell_len(cell) + len(_GAP) <= width or column.is_folded else ""
                yield from (gap + line for line in _folded(cell, max(1, width - len(gap))) if line)


def _padded(text: str, width: int, *, is_right: bool) -> str:
    blanks = " " * max(0, width - cell_len(text))
    return blanks + text if is_right else text + blanks


def _wrapped(title: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in title.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [part for line in lines for part in _folded(line, width)]


def _folded(text: str, width: int) -> list[str]:
    return chop_cells(text, width) if cell_len(text) > width else [text]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "payload":
        text = json_text(value)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, datetime):
        text = value.strftime("%Y-%m-%d %H:%M:%S")
    elif name.endswith("_at"):
        text = str(value)[:19].replace("T", " ")
    elif name.endswith("_age"):
        age = value if isinstance(value, timedelta) else timedelta(seconds=float(value))
        text = str(timedelta(seconds=round(age.total_seconds())))
    else:
        text = str(value)
    return visible(text)  # what producers wrote must not steer the terminal
