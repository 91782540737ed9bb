"""JSON lines: in from stdin or an argument, out to stdout."""

from __future__ import annotations

import json
import sys
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from xclaim.cli.outcomes import emit

if TYPE_CHECKING:
    from xclaim.message import Claim

T = TypeVar("T")

MESSAGE_COLUMNS = ("id", "queue", "status", "priority", "attempts", "available_at", "payload")
CLAIM_COLUMNS = ("id", "queue", "attempts", "claimed_by", "claim_expires_at", "payload")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)  # json.loads would make one a line


def parse_json(text: str, place: str) -> Any:
    """Return the decoded JSON; NaN and Infinity, which Python would accept, are no JSON."""
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at character {error.pos + 1}"
    except ValueError as error:
        problem = str(error)
    except RecursionError:
        problem = "nested too deeply"
    # Where it is wrong, not what it is: logs keep what stands on stderr.
    raise click.UsageError(f"{place} is not JSON ({problem})")


def stdin_lines(missing: str) -> Iterator[tuple[str, Any]]:
    """Yield the value of each line that is not blank, and where it stands: ``line 7``.

    ``missing`` says what was wanted if there is no stdin.
    """
    if sys.stdin is None:
        raise click.UsageError(missing)
    for number, line in enumerate(sys.stdin.buffer, start=1):
        place = f"line {number}"
        try:
            text = (line.removeprefix(BOM_UTF8) if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            raise click.UsageError(
                f"{place} is not UTF-8 ({error.reason} at byte {error.start + 1})"
            ) from None
        if text.strip():
            yield place, parse_json(text, place)


def claims_of(argument: str | None) -> list[Claim]:
    """Return the claims of the argument, or of the lines that ``xclaim claim`` wrote to stdin."""
    missing = "no claim: pass one, or pipe in what `xclaim claim` printed"
    if argument is None and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError(missing)
    if argument is not None and argument != "-":
        return [_claim(parse_json(argument, "CLAIM"), "CLAIM")]
    return [_claim(value, place) for place, value in stdin_lines(missing)]


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def write(value: Mapping[str, Any]) -> None:
    """Write one JSON line, in UTF-8 whatever the terminal's encoding."""
    emit(json.dumps(value, ensure_ascii=False, default=_seconds).encode())


def write_all(
    values: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_table: bool
) -> None:
    """Write the values as JSON lines, or some of their columns as a table."""
    if as_table:
        from xclaim.cli.tables import table

        emit(table(values, columns))
        return
    for value in values:
        write(value)


def _claim(value: Any, place: str) -> Claim:
    from xclaim.errors import InvalidArgumentError
    from xclaim.message import Claim

    if not isinstance(value, dict):
        raise click.UsageError(
            f"{place} is not a claim: a claim is a JSON object, as printed by `xclaim claim`"
        )
    try:
        return Claim.from_dict(value)
    except InvalidArgumentError as error:
        raise click.UsageError(
            f"{place} is not a claim as printed by `xclaim claim` ({error.__cause__!r})"
        ) from error


def _seconds(value: Any) -> float:
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    return float(value)  # PostgreSQL's numeric
