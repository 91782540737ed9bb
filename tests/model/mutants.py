"""Statements that break one promise each: the tests have to notice, or they test nothing.

Each is made from the real builder by taking away what keeps the promise, and planted where the
verbs look their statements up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, Select, Table, text

from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL, Dialect
from xclaim.sql.statements import Statement, claiming, pushing, settling, upkeep
from xclaim.sql.statements.parts import ID

Builder = Callable[..., Statement]

UNIQUE_INDEX = "uq_xclaim_message_unique_key"


class _Unlocked(Dialect):
    def locked(self, statement: Select[Any]) -> Select[Any]:
        return statement


class _Waiting(Dialect):
    def locked(self, statement: Select[Any]) -> Select[Any]:
        return self.locked_in_turn(statement)


_UNLOCKED = _Unlocked(POSTGRESQL.name)
_WAITING = _Waiting(POSTGRESQL.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """The builders to put in place of the real ones, by name, and an index to drop."""

    builders: Mapping[str, Builder]
    index: str | None = None

    @contextmanager
    def planted(self, engine: Engine) -> Iterator[None]:
        """Let the verbs send the mutant for a block, to a database that is thrown away."""
        if self.index is not None:
            with engine.begin() as connection:
                connection.execute(text(f"DROP INDEX {self.index}"))
        with patch.dict(vars(statements), self.builders):
            yield


@lru_cache
def ack_without_the_token(table: Table, dialect: Dialect) -> Statement:
    """Consume the message, whoever holds it now."""
    with patch.object(settling, "_held", _by_id):
        return settling.ack.__wrapped__(table, dialect)


@lru_cache
def release_without_the_token(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Give the message back, whoever holds it now."""
    with patch.object(settling, "_held", _by_id):
        return settling.release.__wrapped__(table, dialect, **options)


@lru_cache
def claim_without_a_lock(table: Table, _: Dialect, **options: Any) -> Statement:
    """Pick a message without FOR UPDATE SKIP LOCKED, and claim it whatever has become of it."""
    with patch.object(claiming, "AVAILABLE", table.c.status):
        return claiming.claim.__wrapped__(table, _UNLOCKED, **options)


@lru_cache
def claim_in_turn(table: Table, _: Dialect, **options: Any) -> Statement:
    """Pick a message with FOR UPDATE, and so wait for whoever has it."""
    return claiming.claim.__wrapped__(table, _WAITING, **options)


@lru_cache
def expire_without_a_lock(table: Table, _: Dialect, **options: bool) -> Statement:
    """Pick lapsed claims without a lock, and give them back whatever has become of them."""
    with patch.object(upkeep, "CLAIMED", table.c.status):
        return upkeep.expire.__wrapped__(table, _UNLOCKED, **options)


@lru_cache
def push_whatever_the_key(
    table: Table, dialect: Dialect, *, notifies: bool = False, encoded: bool = False
) -> Statement:
    """Push without the conflict clause."""
    with patch.object(pushing, "_refuse_other_payload", lambda statement, _: statement):
        return pushing.push_once.__wrapped__(table, dialect, notifies=notifies, encoded=encoded)


def _by_id(table: Table) -> Any:
    return table.c.id == ID


MUTANTS = {
    "an ack without the token": Mutant(builders={"ack": ack_without_the_token}),
    "a release without the token": Mutant(builders={"release": release_without_the_token}),
    "a claim without a lock": Mutant(builders={"claim": claim_without_a_lock}),
    "a claim that waits its turn": Mutant(builders={"claim": claim_in_turn}),
    "an expire without a lock": Mutant(builders={"expire": expire_without_a_lock}),
    "a push without the conflict clause": Mutant(
        builders={"push_once": push_whatever_the_key}, index=UNIQUE_INDEX
    ),
}
