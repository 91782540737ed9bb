"""People with roles of their own: they log in and can do what `xclaim grants` gave them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import errors
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from tests.databases import temporary_database
from xclaim import Queue, create_engine
from xclaim.operations import migrate
from xclaim.operations.grants import Kind, plan

_PASSWORD = "hunter2"


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The engines of a database's owner, and of those who were granted something there."""

    owner: Engine
    engines: dict[str, Engine]

    def queue(self, who: str, name: str = "orders", **options: Any) -> Queue:
        """Return the queue as this person sees it."""
        return Queue(name, self.engines[who], **options)

    def owned(self, name: str = "orders") -> Queue:
        """Return the queue as the owner sees it."""
        return Queue(name, self.owner)

    def run(self, who: str, sql: str) -> Any:
        """Run a statement of SQL, and return its rows if it has some."""
        with self.engines[who].begin() as connection:
            result = connection.execute(text(sql))
            return result.all() if result.returns_rows else result.rowcount


@contextmanager
def people(
    server_url: str,
    template_url: str | None,
    queues: Sequence[str] = (),
    *,
    kinds: Sequence[str] = tuple(Kind),
) -> Iterator[People]:
    """Make a database, and in it a person of each kind, limited to these queues if there are any.

    An observer who may read payloads is called ``reader``. Without a template it is migrated here.
    """
    suffix = secrets.token_hex(4)
    with ExitStack() as roles, temporary_database(server_url, template=template_url) as url:
        administrator = roles.enter_context(_engine(server_url))
        with ExitStack() as stack:
            owner = stack.enter_context(_engine(url))
            if template_url is None:
                migrate.upgrade(owner)
            engines = {}
            for who in [*kinds, "reader"]:
                kind = Kind.OBSERVER if who == "reader" else Kind(who)
                role = f"xclaim_test_{who}_{suffix}"
                _grant(owner, kind, role, queues, payloads=who == "reader")
                roles.callback(_drop, administrator, role)
                address = make_url(url).set(username=role, password=_PASSWORD)
                engines[who] = stack.enter_context(_engine(address.render_as_string(False)))
            yield People(owner=owner, engines=engines)


@contextmanager
def member(server_url: str, office: People, *groups: str) -> Iterator[Engine]:
    """Yield the engine of a person who is a member of these roles, and has nothing else."""
    role = f"xclaim_test_member_{secrets.token_hex(4)}"
    with _engine(server_url) as administrator:
        with office.owner.begin() as connection:
            of = f" IN ROLE {', '.join(groups)}" if groups else ""
            connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD '{_PASSWORD}'{of}"))
        try:
            address = office.owner.url.set(username=role, password=_PASSWORD)
            with _engine(address.render_as_string(False)) as engine:
                yield engine
        finally:
            _drop(administrator, role)


@contextmanager
def refused() -> Iterator[None]:
    """Expect the database to refuse what the block does, for want of a right."""
    with pytest.raises(ProgrammingError) as caught:
        yield
    assert isinstance(caught.value.orig, errors.InsufficientPrivilege)


def _grant(owner: Engine, kind: Kind, role: str, queues: Sequence[str], *, payloads: bool) -> None:
    with owner.begin() as connection:
        plan(connection, kind, role, queues=queues, payloads=payloads).apply(connection)
        connection.execute(text(f"ALTER ROLE {role} LOGIN PASSWORD '{_PASSWORD}'"))


def _drop(administrator: Engine, role: str) -> None:
    with administrator.begin() as connection:  # its database has gone, and what it had there
        connection.execute(text(f"DROP ROLE {role}"))


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()
