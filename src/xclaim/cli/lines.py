"""JSON lines in and out, and tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from xclaim.message import Claim

MESSAGE_COLUMNS = ("id", "queue", "status", "priority", "attempts", "available_at", "payload")


def parse_json(text: str, place: str) -> Any:
    """Return the decoded JSON; NaN and Infinity, which Python would accept, are no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{place} is not JSON ({error}): {text.strip()[:60]!r}") from error


def payloads_of(stream: TextIO) -> Iterator[Any]:
    """Yield the payload of each line that is not blank; a bad one fails with its number."""
    for number, line in enumerate(stream, start=1):
        if line.strip():
            yield parse_json(line, f"line {number}")


def claims_of(argument: str | None) -> list[Claim]:
    """Return the claims of the argument, or of the lines that ``xclaim claim`` wrote to stdin."""
    from xclaim.message import Claim

    if argument is None and sys.stdin.isatty():
        raise click.UsageError("no claim: pass one, or pipe in what `xclaim claim` printed")
    lines = payloads_of(sys.stdin) if argument in (None, "-") else [parse_json(argument, "CLAIM")]
    return [Claim.from_dict(_mapping(line)) for line in lines]


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield the items in lists of ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def write(value: Mapping[str, Any]) -> None:
    """Write one JSON line."""
    click.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def write_all(
    values: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_table: bool
) -> None:
    """Write the values as JSON lines, or some of their columns as a table."""
    if not as_table:
        for value in values:
            write(value)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in columns:
        table.add_column(name, overflow="fold")
    for value in values:
        table.add_row(*[_shown(value.get(name)) for name in columns])
    Console(highlight=False, markup=False).print(table)


def as_dict(value: Any) -> dict[str, Any]:
    """Return a dataclass as a dict of its fields."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise click.UsageError("a claim is a JSON object, as printed by `xclaim claim`")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _plain(value: Any) -> Any:
    return round(value.total_seconds(), 3) if isinstance(value, timedelta) else str(value)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, timedelta):
        return str(timedelta(seconds=round(value.total_seconds())))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
