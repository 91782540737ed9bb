"""A shop whose owner is no superuser: it has capabilities, and people who may call them.

As on a managed server: the owner of the database may create roles, and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Engine, make_url, text

from tests.databases import temporary_database
from xclaim import Queue, create_engine
from xclaim.operations import capabilities, migrate
from xclaim.sql.statements.capabilities import PARTS, role_of

_PASSWORD = "hunter2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The database of an owner who is no superuser, and what others may do there."""

    administrator: Engine  # of the server, connected to this database
    owner: Engine
    roles: ExitStack  # that are dropped in the end

    @property
    def database(self) -> str:
        """The name of the database."""
        return str(self.owner.url.database)

    def make(
        self,
        name: str,
        queue: str = "orders",
        verbs: Sequence[str] = ("claim", "ack", "ack_many", "release", "extend"),
        to: Sequence[str] = (),
        by: Engine | None = None,
        schema: str | None = None,
    ) -> dict[str, Any]:
        """Make a capability, by the owner of the database unless somebody else is named."""
        for part in dict.fromkeys(map(str, PARTS.values())):
            self.forget(role_of(name, part, self.database))
        with (by or self.owner).begin() as connection:
            made = capabilities.plan(connection, name, queue, verbs, to=to, schema=schema)
            return made.apply(connection)

    def drop(self, name: str, schema: str | None = None) -> dict[str, Any]:
        """Drop a capability."""
        with self.owner.begin() as connection:
            return capabilities.plan_drop(connection, name, schema=schema).apply(connection)

    def person(self, name: str = "person") -> str:
        """Make a role that may log in and nothing else; return its name."""
        role = f"xclaim_test_{name}_{secrets.token_hex(4)}"
        as_administrator(self.administrator, "CREATE ROLE {} LOGIN PASSWORD 'hunter2'", role)
        self.forget(role)
        return role

    def forget(self, role: str) -> None:
        """Drop this role in the end."""
        self.roles.callback(_drop, self.administrator.url, role)

    def queue(self, name: str = "orders") -> Queue:
        """Return the queue as the owner sees it."""
        return Queue(name, self.owner)

    @contextmanager
    def session(self, role: str) -> Iterator[Any]:
        """Yield a connection of this role, of the driver itself, in autocommit."""
        url = self.owner.url.set(username=role, password=_PASSWORD)
        engine = create_engine(url.render_as_string(hide_password=False))
        try:
            with engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.autocommit = True
                yield driver
                connection.connection.invalidate()
        finally:
            engine.dispose()

    def run(self, role: str, statement: str, *given: Any) -> list[Any]:
        """Run a statement as this role and return its rows."""
        with self.session(role) as session:
            done = session.execute(statement, given or None)
            return done.fetchall() if done.description else []


def as_administrator(engine: Engine, statement: str, *names: str) -> None:
    """Run a statement with names in it as SQL, each in a transaction of its own."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        driver.commit()


@contextmanager
def shop(server_url: str) -> Iterator[Shop]:
    """Make a database for an owner who may create roles and is no superuser."""
    role = f"xclaim_test_owner_{secrets.token_hex(4)}"
    with ExitStack() as roles:
        administrator = create_engine(server_url)
        roles.callback(administrator.dispose)
        roles.callback(_drop, administrator.url, role)
        as_administrator(administrator, "CREATE ROLE {} LOGIN CREATEROLE PASSWORD 'hunter2'", role)
        with ExitStack() as engines:
            forgotten = engines.enter_context(ExitStack())
            url = engines.enter_context(temporary_database(server_url))
            there = create_engine(url)
            as_administrator(
                there, "ALTER DATABASE {} OWNER TO {}", str(make_url(url).database), role
            )
            own = make_url(url).set(username=role, password=_PASSWORD)
            owner = create_engine(own.render_as_string(hide_password=False))
            migrate.upgrade(owner)
            engines.callback(there.dispose)
            engines.callback(owner.dispose)
            yield Shop(administrator=there, owner=owner, roles=forgotten)


def _drop(server: Any, role: str) -> None:
    # Its database has gone, and what it had there.
    engine = create_engine(server.set(database="postgres").render_as_string(hide_password=False))
    try:
        as_administrator(engine, "DROP ROLE IF EXISTS {}", role)
    finally:
        engine.dispose()


def roles_of(shop: Shop) -> list[str]:
    """Return the roles of capabilities that are in the database."""
    named = text("SELECT rolname FROM pg_roles WHERE rolname LIKE :ending ORDER BY 1")
    with shop.administrator.connect() as connection:
        return list(connection.scalars(named, {"ending": f"%_in_{shop.database}"}))
