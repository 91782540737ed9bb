"""Claim the next messages, or take back those of an earlier attempt."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    Text,
    bindparam,
    exists,
    or_,
    select,
    union_all,
    update,
)

from xclaim.dialects import Dialect
from xclaim.statements.order import next_ids
from xclaim.statements.parts import (
    AVAILABLE,
    CLAIMED,
    CONSUMED,
    LEASE,
    LIMIT,
    ONE,
    QUEUE,
    Statement,
    message_columns,
)


@lru_cache
def claim(table: Table, dialect: Dialect) -> Statement:
    """Claim the next messages: highest priority, then longest available, then lowest id."""
    candidate = dialect.materialized(next_ids(table, dialect, lock=True), "candidate")
    return _take(table, dialect, select(candidate.c.id), table.c.status == AVAILABLE)


@lru_cache
def claim_again(table: Table, dialect: Dialect) -> Statement:
    """Take back what an earlier attempt of the same claim key holds; only if nothing, claim anew.

    An exhausted message is not taken back: it is left for ``expire`` to dead-letter.
    """
    held = table.alias("held")
    resumable = dialect.materialized(
        dialect.locked(
            select(held.c.id)
            .where(held.c.claim_key == bindparam("key", type_=Text))
            .where(held.c.queue == QUEUE, held.c.status == CLAIMED)
            .where(held.c.claimed_by != bindparam("claimant", type_=Text))
            .where(or_(held.c.max_attempts.is_(None), held.c.attempts < held.c.max_attempts))
            .order_by(held.c.id)
            .limit(LIMIT)
        ),
        "resumable",
    )
    candidate = dialect.materialized(
        next_ids(table, dialect, lock=True, unless=exists(select(resumable.c.id))), "candidate"
    )
    taken = union_all(select(resumable.c.id), select(candidate.c.id)).subquery("taken")
    return _take(table, dialect, select(taken.c.id), table.c.status != CONSUMED)


def _take(
    table: Table, dialect: Dialect, ids: Select[Any], guard: ColumnElement[bool]
) -> Statement:
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, ids), guard)
        .values(
            status=CLAIMED,
            attempts=table.c.attempts + ONE,
            claimed_at=dialect.now(),
            claim_expires_at=dialect.from_now(LEASE),
            claimed_by=bindparam("claimant", type_=Text),
            claim_key=bindparam("key", type_=Text),
            claim_token=dialect.new_token(),
        )
        .returning(*message_columns(table), table.c.claim_token)
    )
