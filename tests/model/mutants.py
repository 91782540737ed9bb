"""Statements that break one promise each: the tests have to notice, or they test nothing.

Each is made from the real builder by taking away what keeps the promise, and planted where the
verbs look their statements up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, Select, Table, any_, text
from sqlalchemy.dialects.postgresql import array

from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL, Dialect
from xclaim.sql.statements import Statement, claiming, failing, order, pushing, settling, upkeep
from xclaim.sql.statements.parts import ERROR, ERROR_CLASS, ID, QUEUE

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
def push_whatever_the_key(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Push without the conflict clause."""
    with patch.object(pushing, "_refuse_other_payload", lambda statement, _: statement):
        return pushing.push_once.__wrapped__(table, dialect, **{**options, "whole": True})


@lru_cache
def release_without_a_pause(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Let what failed be claimed at once."""
    with patch.object(settling, "after_pause", lambda _table, _dialect, since: since):
        return settling.release.__wrapped__(table, dialect, **options)


@lru_cache
def release_without_a_limit(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Let what failed come back, however often it has."""
    with patch.object(settling, "or_dead", lambda _table, at, _dialect: {"available_at": at}):
        return settling.release.__wrapped__(table, dialect, **options)


@lru_cache
def release_by_the_limit_of_the_row(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Ask the message for its limit, whatever the consumer has said."""
    with patch.object(
        failing, "is_exhausted", lambda table: table.c.attempts >= table.c.max_attempts
    ):
        return settling.release.__wrapped__(table, dialect, **options)


@lru_cache
def release_that_always_fails(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Keep a failure of what is handed back uncounted."""
    statement: Any = settling.release.__wrapped__(table, dialect, **options)
    if options["counted"] or not options["with_error"]:
        return statement  # type: ignore[no-any-return]
    failed: Statement = statement.values(**failing.failed(table, dialect, ERROR, ERROR_CLASS))
    return failed


@lru_cache
def release_that_keeps_all(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Keep every failure there ever was."""
    with patch.object(failing, "FAILURES", 1_000):
        return settling.release.__wrapped__(table, dialect, **options)


@lru_cache
def expire_that_keeps_all(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Keep every failure there ever was."""
    with patch.object(failing, "FAILURES", 1_000):
        return upkeep.expire.__wrapped__(table, dialect, **options)


@lru_cache
def expire_with_a_pause_from_now(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Let what lapsed rest from now, and not from its claim."""

    def from_now(table: Table, dialect: Dialect, _: Any) -> Any:
        return failing.after_pause(table, dialect, dialect.now())

    with patch.object(upkeep, "after_pause", from_now):
        return upkeep.expire.__wrapped__(table, dialect, **options)


@lru_cache
def claim_with_the_dead(table: Table, dialect: Dialect, **options: Any) -> Statement:
    """Claim what is in the queue, or a dead letter of it."""
    queues = any_(array([QUEUE, QUEUE.concat(".dead")]))
    with patch.object(order, "QUEUE", queues):
        return claiming.claim.__wrapped__(table, dialect, **options)


@lru_cache
def note_failure_without_the_token(table: Table, dialect: Dialect) -> Statement:
    """Keep the error of whoever comes."""
    with patch.object(settling, "_held", _by_id):
        return settling.note_failure.__wrapped__(table, dialect)


@lru_cache
def redrive_with_the_attempts(table: Table, dialect: Dialect, **options: bool) -> Statement:
    """Bring dead letters back that will be dead at once."""
    statement: Any = upkeep.redrive.__wrapped__(table, dialect, **options)
    kept: Statement = statement.values(attempts=table.c.attempts)
    return kept


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
    "a pause that is ignored": Mutant(builders={"release": release_without_a_pause}),
    "a lapse that rests from now": Mutant(
        builders={
            "expire": expire_with_a_pause_from_now,
            "expire_others": partial(expire_with_a_pause_from_now, spares_key=True),
        }
    ),
    "a limit that is ignored": Mutant(builders={"release": release_without_a_limit}),
    "a consumer's limit that is ignored": Mutant(
        builders={"release": release_by_the_limit_of_the_row}
    ),
    "a dead letter that is claimed": Mutant(builders={"claim": claim_with_the_dead}),
    "a hand-back that is a failure": Mutant(builders={"release": release_that_always_fails}),
    "failures without a bound": Mutant(
        builders={"release": release_that_keeps_all, "expire": expire_that_keeps_all}
    ),
    "a noted failure without the token": Mutant(
        builders={"note_failure": note_failure_without_the_token}
    ),
    "a redrive that keeps the attempts": Mutant(builders={"redrive": redrive_with_the_attempts}),
}
