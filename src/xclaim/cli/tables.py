"""Tables for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Return some columns of the rows, drawn as wide as the terminal."""
    drawn = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        title = name.replace("_", " ") + (" (UTC)" if name.endswith("_at") else "")
        drawn.add_column(title, overflow="fold")
    for row in rows:
        drawn.add_row(*[_cell(name, row.get(name)) for name in columns])
    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(drawn)
    text = "\n".join(line.rstrip() for line in capture.get().strip("\n").split("\n"))
    return text.encode(console.encoding, errors="replace")


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "payload":
        text = json.dumps(value, ensure_ascii=False)
    elif name.endswith("_at"):
        text = str(value)[:19].replace("T", " ")
    elif name.endswith("_age"):
        age = value if isinstance(value, timedelta) else timedelta(seconds=float(value))
        text = str(timedelta(seconds=round(age.total_seconds())))
    else:
        text = str(value)
    # What producers wrote must not steer the terminal.
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
