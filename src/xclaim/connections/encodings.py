"""Databases of PostgreSQL that are not in UTF-8: which letters they hold, and what to do about it.

The server converts what it is sent. What it has no letter for it refuses (22P05), and of some it
makes another one: U+00A6 comes back from EUC_JP as U+FFE4.
https://www.postgresql.org/docs/current/multibyte.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xclaim.connections.autocommit import savepoint
from xclaim.errors import InvalidArgumentError
from xclaim.sql.dialects import POSTGRESQL

_ECHO = "SELECT %(letters)s::pg_catalog.text"
_UNTRANSLATABLE = "22P05"
_MOST_SHOWN = 10  # letters in an error
_MOST_OF_A_TEXT = 60  # characters
_HELD = "xclaim_letters"  # in the `info` of a connection: letters that its database gives back
# What texts are called in Python, by the parameters of statements.
_CALLED = {"queue_name": "the queue's name", "claimant": "claimed_by", "key": "claim_key"}


def holdable(connection: Connection, text: str | None) -> str | None:
    """Return a text that the database surely can hold, whatever its encoding.

    Of a database that is not in UTF-8 all but ASCII is written as escapes: an error must not keep
    a message from being released because of a letter in it.
    """
    if text is None or text.isascii() or _other_encoding(connection) is None:
        return text
    return text.encode("ascii", "backslashreplace").decode()


def check_sent(connection: Connection, schema: str | None, parameters: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError, before a statement is sent, for a text in it that it cannot be.

    Of a verb that is in ASCII, as nearly all are, nothing is asked.
    """
    for value in parameters.values():
        if value.__class__ is str and not value.isascii():
            break
    else:
        if schema is None or schema.isascii():
            return
    check_holds(connection, partial(_named, schema, parameters))


def check_names(connection: Connection, **names: str | None) -> None:
    """Raise InvalidArgumentError for a name, of a schema or a role, that no statement can have."""
    check_sent(connection, None, names)


def _named(schema: str | None, parameters: Mapping[str, Any]) -> dict[str, str]:
    texts = {"schema": schema, **parameters}
    return {
        f"{_CALLED.get(name, name)} {_shown(text)}": text
        for name, text in texts.items()
        if isinstance(text, str)
    }


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_OF_A_TEXT else f"{text[:_MOST_OF_A_TEXT]}...")


def check_holds(connection: Connection, named: Callable[[], Mapping[str, str]]) -> None:
    """Raise InvalidArgumentError, before anything is written, for what would not come back.

    ``named`` returns texts by the names that the error gives them. It is asked for them only where
    the database is not in UTF-8, and the database of those letters that are not ASCII.
    """
    encoding = _other_encoding(connection)
    if encoding is None:
        return
    texts = named()
    held: set[str] = connection.info.setdefault(_HELD, set())
    letters = {letter for text in texts.values() if not text.isascii() for letter in text} - held
    changed = _changed(connection, "".join(sorted(letters))) if letters else set()
    held |= letters - changed
    for name, text in texts.items():
        if found := sorted(changed.intersection(text)):
            shown = " ".join(found[:_MOST_SHOWN])
            raise InvalidArgumentError(
                f"{name} has letters that the database would not give back, because it is in "
                f"{encoding} ({shown}): create it with ENCODING 'UTF8'"
            )


def _changed(connection: Connection, letters: str) -> set[str]:
    """Return which of the letters the database refuses, or gives back as others."""
    try:
        came_back = _echo(connection, letters)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _UNTRANSLATABLE:
            raise
        if len(letters) == 1:
            return {letters}
        half = len(letters) // 2
        return _changed(connection, letters[:half]) | _changed(connection, letters[half:])
    if came_back == letters:
        return set()
    if len(came_back) != len(letters):
        return {*letters}
    return {ours for ours, theirs in zip(letters, came_back, strict=True) if ours != theirs}


def _echo(connection: Connection, letters: str) -> str:
    """Return what the database makes of the letters; an error ends no transaction of the caller."""
    with savepoint(connection):
        return str(connection.exec_driver_sql(_ECHO, {"letters": letters}).scalar_one())


def _other_encoding(connection: Connection) -> str | None:
    """Return the encoding of a database of PostgreSQL that has another one than UTF-8."""
    if connection.dialect.name != POSTGRESQL.name:
        return None
    driver: Any = connection.connection.driver_connection
    if driver.closed:
        return None  # the statement tells
    encoding = driver.pgconn.parameter_status(b"server_encoding")
    return None if encoding in (b"UTF8", None) else str(encoding.decode())
