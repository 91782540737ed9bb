"""Rows that PostgreSQL cannot send to us: claims go on without them, and looks name them.

Their text is longer than what it can send, 1 GB, for which some KB of jsonb are enough: it keeps a
number by its digits and prints it with all its zeros. Or the text has a character without a
counterpart in UTF-8. Any of them would fail a statement for all the other rows it returns. Which
ones they are is found out by asking for them alone, and only after such an error: as long as there
are none, they cost nothing.
"""

from __future__ import annotations

import logging
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.connections.autocommit import is_autocommit, is_in_transaction, savepoint
from xclaim.errors import PayloadCorruptedError
from xclaim.message import Unsent
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE, Dialect, dialect_of
from xclaim.verbs.execution import Build, execute

T = TypeVar("T")

# By SQLSTATE, as PostgreSQL says it.
_UNTRANSLATABLE = "22P05"
_REASONS = {
    "54000": "its text is longer than the 1 GB that PostgreSQL can send",
    _UNTRANSLATABLE: "its text has a character that has no counterpart in UTF-8",
}
_PART = 32  # rows that are asked for at once: to fail takes seconds, to answer no time
_REST_SECONDS = 24 * 60 * 60.0  # of a dead letter that is claimed where dead letters are consumed
_MOST_FRUITLESS = 3  # looks for them that find none
_NOTHING: Mapping[str, Any] = {"handed_on_key": None}

_logger = logging.getLogger("xclaim")


def is_unsendable(error: DBAPIError) -> bool:
    """Return whether the error may say that a row cannot be sent."""
    return _state(error) in _REASONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The messages that a claim would take: the statement that returns their ids."""

    schema: str | None
    build: Build
    parameters: Mapping[str, Any]


def claim_the_others(
    connection: Connection, error: DBAPIError, claim: Callable[[], T], candidates: Candidates
) -> T:
    """Claim again, after an error, without what cannot be sent, which becomes dead letters.

    Raise the error if it was about something else, and PayloadCorruptedError in a transaction of
    the caller, which the error has ended.
    """
    seen: set[int] = set()
    fruitless = 0
    while True:
        refuse_where_nothing_can_be_asked(connection, error, candidates.parameters)
        found = _unsendable(connection, candidates)
        # None: others have set them aside meanwhile. The same ones: they cannot be.
        fruitless += found.keys() <= seen
        if fruitless > _MOST_FRUITLESS:
            raise error
        _set_aside(connection, found, candidates)
        seen |= found.keys()
        try:
            return claim()
        except DBAPIError as again:
            error = again


def look(
    connection: Connection, schema: str | None, build: Build, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    """Return the messages of a SELECT in its order, with those that cannot be sent described."""
    try:
        return execute(connection, schema, build, parameters)
    except DBAPIError as error:
        refuse_where_nothing_can_be_asked(connection, error, parameters)
    ids = [row.id for row in execute(connection, schema, partial(ids_of, build), parameters)]
    rows = by_id(connection, schema, ids)
    return [rows[id_] for id_ in ids if id_ in rows]


def unless_unsendable(
    connection: Connection, schema: str | None, build: Build, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    """Return the rows of a statement about one message, or none if they cannot be sent."""
    try:
        return execute(connection, schema, build, parameters)
    except DBAPIError as error:
        refuse_where_nothing_can_be_asked(connection, error, parameters)
        return ()


def push(
    connection: Connection,
    schema: str | None,
    build: Callable[..., statements.Statement],
    parameters: Mapping[str, Any],
) -> Sequence[Any]:
    """Push under unique keys, also where what is there already cannot be sent."""
    try:
        return execute(connection, schema, build, parameters)
    except DBAPIError as error:
        refuse_where_nothing_can_be_asked(connection, error, parameters)
    pushed = execute(connection, schema, partial(build, by_id=True), parameters)
    rows = by_id(connection, schema, [row.id for row in pushed])
    return [_joined(rows[row.id], row) for row in pushed if row.id in rows]


def shown(
    connection: Connection, schema: str | None, build: Build, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    """Return the rows of a SELECT, with marks in the texts that cannot be sent as they are."""
    try:
        return execute(connection, schema, build, parameters)
    except DBAPIError as error:
        refuse_where_nothing_can_be_asked(connection, error, parameters)
    return _marked(connection, schema, build, parameters)


def shown_within(
    connection: Connection, schema: str | None, build: Build, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    """Return what ``shown`` does, also in a transaction, which goes on: with a savepoint."""
    if connection.dialect.name == SQLITE.name:
        return execute(connection, schema, build, parameters)
    try:
        with savepoint(connection):
            return execute(connection, schema, build, parameters)
    except DBAPIError as error:
        if not is_unsendable(error):
            raise
    return _marked(connection, schema, build, parameters)


def _marked(
    connection: Connection, schema: str | None, build: Build, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    rows = execute(connection, schema, partial(_in_bytes, build), parameters)
    if not rows:
        return []
    row_type = namedtuple("Row", rows[0]._fields)  # type: ignore[misc]  # known only here
    return [row_type(**decoded(row)) for row in rows]


def by_id(connection: Connection, schema: str | None, ids: Sequence[int]) -> dict[int, Any]:
    """Return the messages with these ids; of those that cannot be sent what can be said of them."""
    found: dict[int, Any] = {}
    reasons: dict[int, str] = {}
    for rows, unsendable in _in_parts(connection, schema, ids):
        found.update((row.id, row) for row in rows)
        reasons |= unsendable
    if reasons:
        parameters = _ids(connection, list(reasons))
        for row in execute(connection, schema, statements.described, parameters):
            found[row.id] = _described(row, reasons[row.id])
    return found


def _unsendable(connection: Connection, candidates: Candidates) -> dict[int, str]:
    """Return why they cannot be sent, by the ids of those that cannot."""
    schema = candidates.schema
    found = execute(connection, schema, candidates.build, candidates.parameters)
    reasons: dict[int, str] = {}
    for _, unsendable in _in_parts(connection, schema, [row.id for row in found]):
        reasons |= unsendable
    return reasons


def _in_parts(
    connection: Connection, schema: str | None, ids: Sequence[int]
) -> Iterator[tuple[Sequence[Any], dict[int, str]]]:
    """Yield rows, and why others cannot be sent, until there was an answer about each id."""
    for begin in range(0, len(ids), _PART):
        part = ids[begin : begin + _PART]
        rows, reason = _asked(connection, schema, part)
        if reason is None or len(part) == 1:
            yield rows, dict.fromkeys(part, reason) if reason else {}
            continue
        for id_ in part:
            rows, reason = _asked(connection, schema, (id_,))
            yield rows, {id_: reason} if reason else {}


def _asked(
    connection: Connection, schema: str | None, ids: Sequence[int]
) -> tuple[Sequence[Any], str | None]:
    parameters = _ids(connection, ids)
    try:
        return execute(connection, schema, statements.get_many, parameters), None
    except DBAPIError as error:
        if not is_unsendable(error):
            raise
        return (), _reason(error)


def _set_aside(connection: Connection, reasons: Mapping[int, str], candidates: Candidates) -> None:
    dead = arguments.dead_letter_queue(candidates.parameters["queue_name"])
    for id_, reason in reasons.items():
        said = {
            **_NOTHING,
            **candidates.parameters,
            **_ids(connection, [id_]),
            "dead_letter_queue": dead,
            "rest_seconds": _REST_SECONDS,
            "error": f"message {id_} cannot be claimed: {reason}",
            "error_class": arguments.error_class(PayloadCorruptedError()),
        }
        if execute(connection, candidates.schema, statements.set_aside, said):
            _logger.warning("message %s cannot be claimed and is a dead letter: %s", id_, reason)


def refuse_where_nothing_can_be_asked(
    connection: Connection, error: DBAPIError, parameters: Mapping[str, Any]
) -> None:
    """Raise unless the rows can be asked for one by one: not in a transaction that has failed."""
    if not is_unsendable(error):
        raise error
    if not is_autocommit(connection):
        if _is_of_the_parameters(error, parameters):
            raise error
        raise PayloadCorruptedError(
            f"{_what_was_asked_for(parameters)} cannot be sent ({_reason(error)}), which has ended "
            "the transaction: ask for it outside of one, where a claim makes it a dead letter and "
            "a look names it, and withdraw it"
        ) from error
    if is_in_transaction(connection):  # of the verb: who has begun it goes on
        raise error


def _is_of_the_parameters(error: DBAPIError, parameters: Mapping[str, Any]) -> bool:
    """Return whether it may be what we have sent that has no counterpart in the database."""
    texts = [value for value in parameters.values() if isinstance(value, str)]
    return _state(error) == _UNTRANSLATABLE and not all(map(str.isascii, texts))


def _what_was_asked_for(parameters: Mapping[str, Any]) -> str:
    id_, name = parameters.get("message_id"), parameters.get("queue_name")
    what = "a message that was asked for" if id_ is None else f"message {id_}"
    return what if name is None else f"{what} in {name!r}"


def _reason(error: DBAPIError) -> str:
    return _REASONS[_state(error)]


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", ""))


def ids_of(build: Build, table: Table, dialect: Dialect) -> statements.Statement:
    """Return the statement for nothing but the ids of what another one returns."""
    return statements.ids_of(build(table, dialect))


def _in_bytes(build: Build, table: Table, dialect: Dialect) -> statements.Statement:
    return statements.in_bytes(build(table, dialect))


def decoded(row: Any) -> dict[str, Any]:
    """Return the columns of a row whose texts came as bytes, with marks for what is no text."""
    return {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in row._asdict().items()
    }


def _ids(connection: Connection, ids: Sequence[int]) -> dict[str, Any]:
    return dialect_of(connection.dialect.name).row_parameters(id=list(ids))


def _joined(row: Any, pushed: Any) -> Any:
    values = vars(row) if isinstance(row, SimpleNamespace) else row._asdict()
    return SimpleNamespace(**values, is_same=pushed.is_same, is_new=pushed.is_new)


def _described(row: Any, reason: str) -> Any:
    """Return the row, with the reason where JSON would stand: who asks for that is told."""
    return SimpleNamespace(**decoded(row), payload=Unsent(reason), headers=Unsent(reason))
