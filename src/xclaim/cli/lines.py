"""JSON lines: in from stdin or an argument, out to stdout."""

from __future__ import annotations

import json
import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from xclaim.arguments import refuse_constant, visible
from xclaim.cli.json_text import json_text
from xclaim.cli.options import Output
from xclaim.cli.outcomes import emit, say
from xclaim.payloads import exact_json

if TYPE_CHECKING:
    from xclaim.claims import Claim

T = TypeVar("T")

UPCOMING_COLUMNS = ("id", "queue", "priority", "attempts", "available_at", "last_error", "payload")
MESSAGE_COLUMNS = ("id", "queue", "status", "attempts", "available_at", "last_error", "payload")
CLAIM_COLUMNS = ("id", "queue", "attempts", "claimed_by", "claim_expires_at", "payload")


class NotExactError(click.UsageError):
    """The text is JSON, and would not come back as it is written."""


_decoder = json.JSONDecoder(parse_constant=refuse_constant)


def parse_json(text: str, place: str) -> Any:
    """Return the decoded JSON, or raise a UsageError.

    Refused is what Python would accept and change: NaN and Infinity, numbers that a float does not
    hold exactly, and keys that stand twice.
    """
    return _decoded(exact_json.DECODER, text, place)


def _decoded(decoder: json.JSONDecoder, text: str, place: str) -> Any:
    try:
        return decoder.decode(text)
    except exact_json.NotExactError as error:
        raise NotExactError(f"{place}: {error}") from None
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


def json_lines(
    lines: Iterable[bytes], parse: Callable[[str, str], Any] = parse_json
) -> Iterator[tuple[int, Any]]:
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
            yield number, parse(text, place)


def claims_of(argument: str | None) -> list[Claim]:
    """Return the claims of the argument, or of the lines that ``xclaim claim`` wrote to stdin."""
    missing = "no claim: pass one, or pipe in what `xclaim claim` printed"
    if argument is None and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError(missing)
    if argument is not None and argument != "-":
        return [_claim(_parse_claim(argument, "CLAIM"), "CLAIM")]
    lines = json_lines(stdin_of(missing), _parse_claim)
    return [_claim(value, f"line {number}") for number, value in lines]


def _parse_claim(text: str, place: str) -> Any:
    # Its payload may be another program's, with any number: it is handed on to nobody.
    return _decoded(_decoder, text, place)


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
    return json_text(value).encode()


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


def tell_unreadable(messages: Iterable[Mapping[str, Any]]) -> None:
    """Say on stderr what of printed messages cannot be read: on stdout it is only not there."""
    for message in messages:
        if names := message.get("unreadable"):
            say(
                f"message {message['id']} in {message['queue']!r}: {' and '.join(names)} cannot be "
                "read, and stands as text under `unreadable`; an ack would consume it"
            )


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
        text = json_text(value)
    return visible(text)


def _claim(value: Any, place: str) -> Claim:
    from xclaim.claims import Claim
    from xclaim.errors import InvalidArgumentError

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
