"""JSON lines: in from stdin or an argument, out to stdout."""

from __future__ import annotations

import json
import sys
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from xclaim.cli.options import Output
from xclaim.cli.outcomes import emit, visible

if TYPE_CHECKING:
    from xclaim.message import Claim

T = TypeVar("T")

UPCOMING_COLUMNS = ("id", "queue", "priority", "attempts", "available_at", "last_error", "payload")
MESSAGE_COLUMNS = ("id", "queue", "status", "attempts", "available_at", "last_error", "payload")
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


def stdin_of(missing: str) -> IO[bytes]:
    """Return stdin; ``missing`` says what was wanted if there is none."""
    if sys.stdin is None:
        raise click.UsageError(missing)
    return sys.stdin.buffer


def json_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """Yield the value of each line that is not blank, and its number, from 1."""
    for number, line in enumerate(lines, start=1):
        place = f"line {number}"
        try:
            text = (line.removeprefix(BOM_UTF8) if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            raise click.UsageError(
                f"{place} is not UTF-8 ({error.reason} at byte {error.start + 1})"
            ) from None
        if text.strip():
            yield number, parse_json(text, place)


def claims_of(argument: str | None) -> list[Claim]:
    """Return the claims of the argument, or of the lines that ``xclaim claim`` wrote to stdin."""
    missing = "no claim: pass one, or pipe in what `xclaim claim` printed"
    if argument is None and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError(missing)
    if argument is not None and argument != "-":
        return [_claim(parse_json(argument, "CLAIM"), "CLAIM")]
    return [_claim(value, f"line {number}") for number, value in json_lines(stdin_of(missing))]


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def write(value: Mapping[str, Any]) -> None:
    """Write one JSON line, in UTF-8 whatever the terminal's encoding."""
    emit(line_of(value))


def line_of(value: Mapping[str, Any]) -> bytes:
    """Return the value as one JSON line."""
    return json.dumps(value, ensure_ascii=False, default=_plain).encode()


def write_all(values: Sequence[Mapping[str, Any]], columns: Sequence[str], output: Output) -> None:
    """Write the values as JSON lines, or some of their columns as a table or as TSV."""
    match output:
        case Output.JSON:
            for value in values:
                write(value)
        case Output.TABLE:
            from xclaim.cli.tables import table

            emit(table(values, columns))
        case Output.TSV:
            emit(tsv(values, columns))


def tsv(values: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Return a line with the names of the columns, and one for each value; tabs are escaped."""
    lines = ["\t".join(columns)]
    lines += ["\t".join(_field(name, value.get(name)) for name in columns) for value in values]
    return "\n".join(lines).encode()


def _field(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name != "payload" and isinstance(value, str):
        text = value.replace("\\", "\\\\")
    else:
        text = json.dumps(value, ensure_ascii=False, default=_plain)
    return visible(text)


def _claim(value: Any, place: str) -> Claim:
    from xclaim.errors import InvalidArgumentError
    from xclaim.message import Claim

    if not isinstance(value, dict):
        raise click.UsageError(
            f"{place} is not a claim: a claim is a JSON object, as printed by `xclaim claim`; by "
            "its id a message is settled with `xclaim ack QUEUE ID`, or `release`"
        )
    try:
        return Claim.from_dict(value)
    except InvalidArgumentError as error:
        raise click.UsageError(
            f"{place} is not a claim as printed by `xclaim claim` ({error.__cause__!r})"
        ) from error


def _plain(value: Any) -> float | str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    return float(value)  # PostgreSQL's numeric
