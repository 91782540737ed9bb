"""ORM sessions, as what a queue is bound to: its verbs join the transaction of the session.

This is the one place that knows of them. The ORM takes longer to import than all of xclaim, so it
is never imported here: whoever has a session has loaded it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Update, update
from sqlalchemy.exc import UnboundExecutionError

from xclaim.connections.calls import begin
from xclaim.connections.engine import check_driver
from xclaim.errors import InvalidArgumentError
from xclaim.sql.dialects import SQLITE
from xclaim.sql.schema import message_table

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_NO_ONE_DATABASE = (
    "the session does not say in which database the messages are: give it one for all that has no "
    "bind of its own, Session(engine, binds=...), or bind the queue to a connection of the session"
)
_AUTOCOMMIT = (
    "the session is in AUTOCOMMIT, where a rollback undoes nothing: make it on an engine without "
    "that isolation level, or bind the queue to the engine"
)


class OrmSession:
    """One session. It has another connection after each commit, so each verb asks for it anew."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def database(self) -> Engine | Connection:
        """Return where its messages are; nothing is connected.

        Raise InvalidArgumentError if it has several databases and none for them, DatabaseUrlError
        for a driver that xclaim does not use.
        """
        try:
            # A session that chooses between servers sees that this is one that writes.
            bind = self._session.get_bind(clause=_write())
        except UnboundExecutionError as error:
            raise InvalidArgumentError(_NO_ONE_DATABASE) from error
        check_driver(bind.dialect)
        return bind

    def connection(self) -> Connection:
        """Return its connection, in its transaction, after a flush where a query would flush.

        Raise what ``database`` raises, InvalidArgumentError if it is in autocommit, and what
        SQLAlchemy raises for a session without a transaction, or whose flush fails.
        """
        connection = self._session.connection(bind_arguments={"bind": self.database()})
        _refuse_autocommit(connection)
        begin(connection)  # a flush is not left in its middle
        self._session._autoflush()  # noqa: SLF001  (only this knows whether it is flushing already)
        return connection


class SessionScope:
    """A ``scoped_session``: each thread, task or request has a session of its own."""

    def __init__(self, find: Callable[[], Session]) -> None:
        self._find = find

    def session(self) -> OrmSession:
        """Return the session of who calls; not from a call that is finished elsewhere."""
        return OrmSession(self._find())


def session_in(bind: object) -> OrmSession | SessionScope | None:
    """Return a session, or a scope of them, as what a queue is bound to; None if it is neither."""
    orm: Any = sys.modules.get("sqlalchemy.orm")
    if orm is None:
        return None
    if isinstance(bind, orm.Session):
        return OrmSession(bind)
    return SessionScope(bind.registry) if isinstance(bind, orm.scoped_session) else None


def async_session_in(bind: object) -> OrmSession | SessionScope | None:
    """Return the same of asyncio's."""
    asyncio: Any = sys.modules.get("sqlalchemy.ext.asyncio")
    if asyncio is None:
        return None
    if isinstance(bind, asyncio.AsyncSession):
        return OrmSession(bind.sync_session)
    if isinstance(bind, asyncio.async_scoped_session):
        return SessionScope(lambda: bind.registry().sync_session)
    return None


@lru_cache
def _write() -> Update:
    return update(message_table())


def _refuse_autocommit(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    is_autocommit = getattr(driver, "autocommit", False) is True
    if connection.dialect.name == SQLITE.name and driver.isolation_level is None:
        is_autocommit = not driver.in_transaction  # then it begins none, and the engine has not
    if is_autocommit:
        raise InvalidArgumentError(_AUTOCOMMIT)
