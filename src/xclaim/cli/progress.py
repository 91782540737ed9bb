"""How far a long command is, for people: in lines or messages, and percent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, int], None]  # by so many lines, by so much of the total


@contextmanager
def progress(description: str, total: int | None, *, unit: str = "lines") -> Iterator[Advance]:
    """Yield a function that notes progress on a terminal, and does nothing without one.

    ``total`` is what 100 % are, None where nobody knows: then only lines are shown.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda lines, part: None  # noqa: ARG005
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.fields[lines]:,}} {unit}"),
        TaskProgressColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with shown:
        task = shown.add_task(description, total=total, lines=0)
        count = 0

        def advance(lines: int, part: int) -> None:
            nonlocal count
            count += lines
            shown.update(task, advance=part, lines=count)

        yield advance
        shown.refresh()
