"""What a verb does about ordering keys: stand in line, and pass on the turns that are owed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool, Text, TextClause, bindparam, text
from sqlalchemy.exc import DBAPIError

from xclaim.arguments import LOWEST_ID
from xclaim.connections.autocommit import is_autocommit, one_transaction
from xclaim.connections.direct import run
from xclaim.errors import InvalidArgumentError, OrderingNotEnabledError
from xclaim.sql import ordering, statements, turns
from xclaim.sql.dialects import SQLITE, dialect_of
from xclaim.sql.revision import commands_of, qualified
from xclaim.sql.schema import LINE_UP_NAME, PASS_OWED_NAME, TABLE_NAME, TURN_NAME
from xclaim.sql.statements import auditing
from xclaim.verbs.execution import execute
from xclaim.verbs.unsendable import shown_within

T = TypeVar("T")

_NO_FUNCTION, _MAY_NOT = "42883", "42501"
# Seconds until a database is asked again where it is not enabled, and of a queue that has keys.
_ASKED_EVERY, _ASKED_OF_KEYS_EVERY = 30.0, 1.0


def _question(answer: str, source: str = "") -> TextClause:
    return text(f"SELECT {answer} AS answer{source}").bindparams(bindparam("name", type_=Text))


_FUNCTION = "to_regprocedure(:name)"  # functions are named in full when they are sent
_IS_THERE = _question(f"{_FUNCTION} IS NOT NULL")
MAY_PASS_OWED = _question(f"has_function_privilege({_FUNCTION}, 'EXECUTE')")
_IS_IN_FILE = _question("count(*)", " FROM sqlite_master WHERE name = :name")


class _Answer(NamedTuple):
    """Whether turns that are owed can be passed on, and when it was asked."""

    is_enabled: bool
    given_at: float


_known: WeakKeyDictionary[Pool, dict[str | None, _Answer]] = WeakKeyDictionary()


def in_line(connection: Connection, schema: str | None, push: Callable[[], T]) -> T:
    """Push messages with ordering keys. Raise OrderingNotEnabledError where they have no lines.

    A SQLite file is made ready by the first push: nobody else writes to it meanwhile, and there is
    no other role who would have to.
    """
    if connection.dialect.name == SQLITE.name:
        if not is_enabled(connection, schema):
            enable_on_sqlite(connection)
        return push()
    try:
        return push()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _NO_FUNCTION:
            raise
    raise OrderingNotEnabledError(schema=schema, commands=commands_of(connection))


def turns_in(
    connection: Connection, schema: str | None, ids: Sequence[int], rows: Sequence[Any]
) -> Collection[int]:
    """Return which of the messages that were just pushed need not stand in line.

    PostgreSQL says it with the rows of a statement that had ordering keys; several statements may
    have made them, some of them none. On SQLite RETURNING does not know it yet.
    """
    dialect = dialect_of(connection.dialect.name)
    if dialect is not SQLITE:
        return {id_ for row in rows for id_ in getattr(row, "turns", None) or ()}
    found = execute(connection, schema, statements.with_turn, dialect.row_parameters(id=ids))
    return {row.id for row in found}


def is_enabled(connection: Connection, schema: str | None) -> bool:
    """Return whether the database has what ordering keys need."""
    if connection.dialect.name == SQLITE.name:
        return _asked(connection, _IS_IN_FILE, TURN_NAME)
    return _asked(connection, _IS_THERE, f"{qualified(LINE_UP_NAME, schema)}(bigint[])")


def refuse_two_leaders(connection: Connection, schema: str | None) -> None:
    """Raise InvalidArgumentError where two messages of an ordering key can be claimed, or are.

    Whoever has written them by hand, or restored them, before there was an index that refuses it.
    """
    build = partial(auditing.repeated_turns, of_queue=False)
    for found in shown_within(connection, schema, build, {"first_id": LOWEST_ID}):
        remedy = auditing.remedy("turns", qualified(TABLE_NAME, schema), str(found.id))
        raise InvalidArgumentError(
            f"of the ordering key {found.ordering_key!r} in {found.queue!r} more than one message "
            f"can be claimed or is, the first of them message {found.id}: once no more than one is "
            f"claimed, let the others stand in line, and run this again: {remedy}"
        )


def enable_on_sqlite(connection: Connection) -> None:
    """Make what ordering keys need in a SQLite file, in one transaction."""
    with one_transaction(connection):
        refuse_two_leaders(connection, None)
        for statement in ordering.enabling(SQLITE):
            connection.exec_driver_sql(statement)


def pass_owed(
    connection: Connection, schema: str | None, queue: str, *, most: int, has_keys: bool = False
) -> int:
    """Pass turns on that could not be when their holders ended; return how many were looked at.

    In batches, each of which commits by itself under autocommit, and no more than about ``most``:
    what a producer still keeps from it is due again within a second, and would never end.

    A queue without ordering keys pays for it with one question in half a minute. ``has_keys``: it
    is known to have some, so that whoever asked before they were enabled asks again at once.
    """
    if connection.dialect.name == SQLITE.name:
        return 0
    asked_every = _ASKED_OF_KEYS_EVERY if has_keys else _ASKED_EVERY
    if not _is_perhaps_enabled(connection, schema, asked_every):
        return 0
    total = 0
    while total < most:
        looked_at = _pass_some_owed(connection, schema, queue)
        total += looked_at
        if looked_at < turns.OWED_A_CALL:
            break
    return total


def _pass_some_owed(connection: Connection, schema: str | None, queue: str) -> int:
    try:
        (row,) = execute(connection, schema, statements.pass_owed, {"queue_name": queue})
    except DBAPIError as error:
        is_gone = getattr(error.orig, "sqlstate", None) in {_NO_FUNCTION, _MAY_NOT}
        if not is_gone or not is_autocommit(connection) or _is_enabled_now(connection, schema):
            raise
        return 0  # disabled since it was asked
    return int(row.looked_at)


def _may_pass_owed(connection: Connection, schema: str | None) -> bool:
    """Return whether ordering is enabled, and the role may call the function."""
    return _asked(connection, MAY_PASS_OWED, f"{qualified(PASS_OWED_NAME, schema)}(text)")


def _asked(connection: Connection, question: TextClause, name: str) -> bool:
    return bool(run(connection, question, {"name": name})[0][0])


def _is_perhaps_enabled(connection: Connection, schema: str | None, asked_every: float) -> bool:
    """Return what is remembered of the database; in a transaction, which an error ends, ask it."""
    answer = _known.get(connection.engine.pool, {}).get(schema)
    if answer is not None:
        if answer.is_enabled and is_autocommit(connection):
            return True
        if not answer.is_enabled and time.monotonic() - answer.given_at < asked_every:
            return False
    return _is_enabled_now(connection, schema)


def _is_enabled_now(connection: Connection, schema: str | None) -> bool:
    answer = _Answer(_may_pass_owed(connection, schema), time.monotonic())
    _known.setdefault(connection.engine.pool, {})[schema] = answer
    return answer.is_enabled
