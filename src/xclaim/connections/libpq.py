"""The narrow door: statements that libpq is given as they are, past the cursors of psycopg.

A cursor is two thirds of what a statement costs the client: it is made anew each time, chooses how
to convert each parameter and each value, and keeps account of what is prepared. Here parameters are
sent as text, which the statements cast anyway, and values come back binary. To wait for the answer
is left to psycopg, with its lock: an interrupt, a cancellation, a timeout and a lost connection are
what they are with a cursor, notices and notifications reach psycopg's handlers, and asyncio waits
as it always does (docs/adr/0048).

A cursor has it whenever somebody could notice: in a transaction or a pipeline, on a connection or
with a cursor of somebody's own, or where cursors are traced; and for parameters of another kind.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from types import FunctionType
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.util import await_only

_KEY = "xclaim_door"  # in the `info` of a connection
_BINARY = 1  # of libpq, as are these; psycopg is optional, and its enumerations take longer
_IDLE = 0
_DONE = (1, 2)  # a command, or rows
_SQLSTATE = ord("C")
_EXISTS = b"42P05"  # there is a prepared statement of this name, which says what it is
# There is none, because somebody has discarded it or a pooler took another server; or what it
# returns may have changed since. Nothing was done then.
_GONE, _CHANGED = b"26000", b"0A000"
# Statements that a connection has prepared, as many as psycopg prepares; what comes later is sent
# by it. Of so many others it is counted how often they were sent.
_MOST = 100
_CURSORS = ("psycopg.cursor", "psycopg.cursor_async")

# In what these return `yield` asks psycopg to wait for the socket.
_Waiting = Generator[Any, Any, Any]


class Raw(NamedTuple):
    """A statement as the server reads it: its parameters by their places, and their names."""

    text: bytes
    names: tuple[str, ...]

    def values(self, parameters: Mapping[str, Any]) -> list[bytes | None] | None:
        """Return the parameters as libpq takes them; None for what psycopg has to say no to."""
        values = [parameters[name] for name in self.names]
        try:
            return [_WRITERS[value.__class__](value) for value in values]
        except (KeyError, ValueError):
            return None


class Door:
    """The narrow door of one connection, which knows what it has prepared on it.

    ``pooled`` is the connection as SQLAlchemy's pool has it, ``driver`` as psycopg does.
    """

    def __init__(self, pooled: Any, driver: Any, *, is_async: bool) -> None:
        import psycopg  # optional, as is SQLAlchemy's dialect for it
        from psycopg.adapt import Transformer
        from psycopg.generators import execute

        self.pooled = pooled
        self.driver = driver
        self._pgconn = driver.pgconn
        self._results = execute
        self._is_async = is_async
        self._reader = Transformer(driver)
        self._cursor_class: Any = psycopg.AsyncCursor if is_async else psycopg.Cursor
        self._execute = self._cursor_class.execute
        plain = psycopg.AsyncConnection if is_async else psycopg.Connection
        self._is_plain = type(driver) is plain and _is_psycopgs(self._execute)
        self._sent: dict[bytes, int] = {}  # how often before it was prepared, by text
        self._prepared: dict[bytes, bytes] = {}  # the names, by text
        self._changes = 0  # how often a prepared statement was found that now returns other types

    def is_open(self, text: bytes) -> bool:
        """Return whether nobody would notice that a statement has no cursor."""
        driver, pgconn = self.driver, self._pgconn
        return bool(
            self._is_plain
            and driver.cursor_factory is self._cursor_class
            and self._cursor_class.execute is self._execute  # nobody has come to trace it
            and driver.autocommit
            and pgconn.transaction_status == _IDLE  # not closed either, nor at work
            and not pgconn.pipeline_status
            and (text in self._prepared or len(self._prepared) < _MOST)
        )

    def run(
        self, text: bytes, values: Sequence[bytes | None], *, prepare: bool | None = None
    ) -> Any:
        """Return the result of a statement, its values binary. Raise what a cursor would raise.

        ``prepare`` False plans it anew this time.
        """
        asking = self._asking(text, values, prepare=prepare)
        if self._is_async:
            return await_only(self._awaited(asking))
        with self.driver.lock:
            return self.driver.wait(asking)

    def rows(self, result: Any, *, named: bool) -> Sequence[Any]:
        """Return the rows of a result as psycopg reads them: as tuples, with names or without."""
        make: Any = _row_type(tuple(map(result.fname, range(result.nfields)))) if named else tuple
        reader = self._reader
        reader.set_pgresult(result)
        try:
            rows: Sequence[Any] = reader.load_rows(0, result.ntuples, make)
        finally:
            reader.set_pgresult(None)  # it would keep all payloads until the next statement
        return rows

    async def _awaited(self, asking: _Waiting) -> Any:
        async with self.driver.lock:
            return await self.driver.wait(asking)

    def _asking(
        self, text: bytes, values: Sequence[bytes | None], *, prepare: bool | None
    ) -> _Waiting:
        pgconn = self._pgconn
        name = None if prepare is False else self._prepared.get(text)
        if prepare is not False and (name is None or self.driver.prepare_threshold is None):
            name = yield from self._name(text)
        state = None
        if name is not None:
            pgconn.send_query_prepared(name, values, None, _BINARY)
            result = _answer((yield from self._results(pgconn)))
            if result.status in _DONE:
                return result
            state = result.error_field(_SQLSTATE)
            if state not in (_GONE, _CHANGED):
                return _checked(result)
            self._prepared.clear()
        self._count(text)
        pgconn.send_query_params(text, values, None, None, _BINARY)
        result = _checked(_answer((yield from self._results(pgconn))))
        if state == _CHANGED:  # and not refused for good, which has the same code
            self._changes += 1
        return result

    def _count(self, text: bytes) -> None:
        """Count how often a text was sent; of too many texts the oldest are forgotten."""
        self._sent[text] = self._sent.get(text, 0) + 1
        if len(self._sent) > 3 * _MOST:  # each number of claim_many is a text of its own, say
            others = [each for each in self._sent if each not in self._prepared]
            for each in others[: len(others) - _MOST]:
                del self._sent[each]

    def _name(self, text: bytes) -> _Waiting:
        """Return the name under which a statement is prepared, None as long as it is not worth it.

        As psycopg does, after so many times. Names are those of texts, so that behind a pooler none
        is that of another statement, whoever prepared it; and others after a change, because what
        was prepared before stays there under its name.
        """
        threshold = self.driver.prepare_threshold
        if threshold is None or self._sent.get(text, 0) < threshold:
            return None
        name = b"xclaim_%s" % sha256(b"%d %s" % (self._changes, text)).hexdigest()[:32].encode()
        self._pgconn.send_prepare(name, text)
        result = _answer((yield from self._results(self._pgconn)))
        if result.error_field(_SQLSTATE) != _EXISTS:
            _checked(result)
        self._prepared[text] = name
        return name


def door_of(connection: Connection) -> Door:
    """Return the door of a connection to PostgreSQL, open or not."""
    pooled: Any = connection.connection
    known = pooled.info
    door: Door | None = known.get(_KEY)
    if door is None or door.pooled is not pooled.dbapi_connection:
        driver, is_async = pooled.driver_connection, connection.dialect.is_async
        door = known[_KEY] = Door(pooled.dbapi_connection, driver, is_async=is_async)
    return door


def _answer(results: Sequence[Any]) -> Any:
    """Return what the server says to what was sent: of several results the one that failed."""
    if len(results) == 1:
        return results[0]
    if not results:
        from psycopg import InternalError

        raise InternalError("got no result from the query")
    failed = (result for result in results if result.status not in _DONE)
    return next(failed, results[-1])


def _checked(result: Any) -> Any:
    if result.status in _DONE:
        return result
    from psycopg.errors import error_from_result

    raise error_from_result(result, encoding="utf-8")


def _is_psycopgs(method: Any) -> bool:
    """Return whether a method of a cursor is psycopg's own, and not one that traces it."""
    return type(method) is FunctionType and method.__globals__["__name__"] in _CURSORS


@lru_cache(512)
def _row_type(names: tuple[bytes, ...]) -> Any:
    fields = [name.decode() for name in names]
    row_type: Any = namedtuple("Row", fields)  # type: ignore[misc]  # known only here
    return row_type._make


def _text(value: str) -> bytes:
    text = value.encode()
    if b"\0" in text:  # where libpq would take it to end
        raise ValueError("a NUL")
    return text


_WRITERS: dict[type, Any] = {
    str: _text,
    int: b"%d".__mod__,
    float: lambda value: repr(value).encode(),
    bool: lambda value: b"t" if value else b"f",
    UUID: lambda value: value.hex.encode(),
    bytes: lambda value: b"\\x" + value.hex().encode(),
    datetime: lambda value: value.isoformat().encode(),
    type(None): lambda _: None,
}
