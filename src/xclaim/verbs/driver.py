"""Run a statement by psycopg itself where nobody would notice, at half of what it costs otherwise.

SQLAlchemy keeps the pool, the transactions and the text of the statement; only its execution is
left out, which for a claim takes about as long as the database does. Not left out are joined
transactions, asyncio, and engines whose user listens to, logs or translates the statements.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect

from xclaim.dialects import POSTGRESQL
from xclaim.engine import DEFAULT_ISOLATION_LEVEL
from xclaim.statements import Statement

_STATEMENT_EVENTS = (
    "before_execute",
    "after_execute",
    "before_cursor_execute",
    "after_cursor_execute",
)
_PLAIN_AUTOCOMMIT = (
    {"isolation_level": "AUTOCOMMIT"},
    {DEFAULT_ISOLATION_LEVEL: "AUTOCOMMIT"},
)
_logger = logging.getLogger("sqlalchemy.engine.Engine")


def is_direct(connection: Connection) -> bool:
    """Return whether a statement may go past SQLAlchemy on this connection."""
    dispatch: Any = connection.engine.dispatch
    return (
        connection.dialect.name == POSTGRESQL.name
        and not connection.dialect.is_async
        and connection.get_execution_options() in _PLAIN_AUTOCOMMIT
        and not connection.engine.echo
        and not _logger.isEnabledFor(logging.INFO)
        and not any(getattr(dispatch, name) for name in _STATEMENT_EVENTS)
    )


def execute(
    connection: Connection,
    statement: Statement,
    parameters: Mapping[str, Any],
    *,
    prepare: bool | None = None,
) -> Sequence[Any]:
    """Run the statement and return its rows as named tuples. Raise what SQLAlchemy would raise.

    Times are in the time zone of the session.

    ``prepare`` False plans this one anew, None leaves it to psycopg.
    """
    from psycopg.rows import namedtuple_row  # an optional world: whoever gets here has it

    text = _text(statement, connection.dialect)
    driver: Any = connection.connection.driver_connection
    try:
        cursor = driver.cursor(row_factory=namedtuple_row)
        return cursor.execute(text, parameters, prepare=prepare).fetchall()  # type: ignore[no-any-return]
    except BaseException as error:  # noqa: BLE001  (raised again, as SQLAlchemy would)
        # It also drops connections that are lost, or were interrupted in the middle of a result.
        connection._handle_dbapi_exception(error, text, dict(parameters), None, None)  # noqa: SLF001


@lru_cache(512)
def _text(statement: Statement, dialect: Dialect) -> str:
    return str(statement.compile(dialect=dialect))
