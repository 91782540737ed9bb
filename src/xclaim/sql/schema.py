"""The tables: their columns, checks and indexes, as the migrations build them.

``REVISION`` is the migration this code needs. A CHECK is what the promises rest on, every index
serves one verb, and each index is partial so that history costs nothing on the claim path.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import (
    ARRAY,
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Double,
    Engine,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    event,
    text,
)

from xclaim.retry import MAX_ATTEMPTS
from xclaim.sql.dialects import Json, UtcTimestamp

REVISIONS = ("0001",)
REVISION = REVISIONS[-1]
TABLE_NAME = "xclaim_message"
QUEUE_TABLE_NAME = "xclaim_queue"
SLOT_TABLE_NAME = "xclaim_slot"
VERSION_TABLE_NAME = "xclaim_alembic_version"
VIEW_NAME = "xclaim_queue_stats"
LINEAGE_VIEW_NAME = "xclaim_lineage"
OVERVIEW_NAME = "xclaim_overview"
FAILING_NAME = "xclaim_failing"
DEAD_LETTERS_NAME = "xclaim_dead_letters"
FAILURES_NAME = "xclaim_failures"
UNIQUE_KEY_NAME = "uq_xclaim_message_unique_key"
TURN_NAME = "uq_xclaim_message_turn"  # of each ordering key one, as `ordering enable` makes it
LINE_UP_NAME = "xclaim_line_up"  # the function by which a push stands in line (PostgreSQL)
PASS_OWED_NAME = "xclaim_pass_owed"  # noqa: S105  (by which an expire passes on what is owed)
DELETE_NAME = "xclaim_delete"  # the function by which a maintainer deletes (PostgreSQL)

# Who has the turn: what can be claimed or is, in its own queue; and what keeps it past its end, a
# dead letter that holds it, or what could not pass it on yet.
HAS_TURN = (
    "{0}ordering_key IS NOT NULL AND {0}available_at IS NOT NULL"
    " AND ({0}consumed_at IS NULL AND {0}queue = {0}origin_queue OR {0}keeps_turn IS TRUE)"
)
# A queue rewrites each row two or three times. There is room for that on the row's own page, where
# PostgreSQL logs only what changed, and vacuum runs by count rather than by a fifth of the table,
# and fast enough to keep up (https://www.postgresql.org/docs/current/routine-vacuuming.html).
FILLFACTOR = 70
AUTOVACUUM = {
    "autovacuum_vacuum_threshold": 1000,
    "autovacuum_vacuum_scale_factor": 0.01,
    "autovacuum_analyze_threshold": 1000,
    "autovacuum_analyze_scale_factor": 0.02,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
    "autovacuum_vacuum_cost_limit": 2000,
}

# One, because PostgreSQL compiles each CHECK of a table anew in every statement that writes to it
# (docs/adr/0049). Queries, indexes and policies take `consumed_at IS NOT NULL` for consumed.
CHECKS = {
    "ck_xclaim_message_status": (
        "CASE WHEN claim_token IS NOT NULL THEN status = 'claimed' AND consumed_at IS NULL"
        " WHEN consumed_at IS NULL THEN status = 'available' ELSE status = 'consumed' END"
    ),
}
QUEUE_CHECKS = {
    "ck_xclaim_queue_name": "queue <> ''",
    "ck_xclaim_queue_paused": (
        "(paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NOT NULL OR reason IS NULL)"
    ),
    "ck_xclaim_queue_backlog": (
        "CASE WHEN max_backlog IS NULL THEN on_full IS NULL"
        " ELSE max_backlog BETWEEN 1 AND 1000000 AND on_full IS NOT NULL"
        " AND on_full IN ('raise', 'wait', 'skip') END"
    ),
    "ck_xclaim_queue_limits": (
        "coalesce(concurrency > 0, true)"
        " AND CASE WHEN rate IS NULL THEN rate_seconds IS NULL AND burst IS NULL"
        " ELSE coalesce(rate > 0 AND burst > 0"
        " AND rate_seconds > 0 AND rate_seconds <= 316224000"
        " AND burst * rate_seconds <= rate * 31557600000.0, false) END"
    ),
}
# The kinds of slots: of claims at once, and of claims that begin.
CONCURRENCY, RATE = "concurrency", "rate"


def translated(bind: Engine | Connection, schema: str | None) -> str | None:
    """Return the schema that this engine or connection has in the place of another."""
    names = bind.get_execution_options().get("schema_translate_map")
    return names.get(schema, schema) if names else schema


@lru_cache
def tables(schema: str | None = None) -> MetaData:
    """Return all tables of ours, in a PostgreSQL schema when one is named."""
    metadata = MetaData(schema=schema)
    _add_message_table(metadata)
    _add_queue_table(metadata)
    _add_slot_table(metadata)
    return metadata


@lru_cache
def message_table(schema: str | None = None) -> Table:
    """Return the message table, in a PostgreSQL schema when one is named."""
    return _of(tables(schema), TABLE_NAME)


@lru_cache
def queue_table(schema: str | None = None) -> Table:
    """Return the table of settings, in a PostgreSQL schema when one is named."""
    return _of(tables(schema), QUEUE_TABLE_NAME)


@lru_cache
def slot_table(schema: str | None = None) -> Table:
    """Return the table of the slots of limited queues, in a PostgreSQL schema when one is named."""
    return _of(tables(schema), SLOT_TABLE_NAME)


def _of(metadata: MetaData, name: str) -> Table:
    return next(table for table in metadata.tables.values() if table.name == name)


def _add_queue_table(metadata: MetaData) -> None:
    """Add the settings of queues: a row for each queue that has one, all others have the defaults.

    A claim that looks from the head reads it, by its primary key, and the first push of a second.
    """
    Table(
        QUEUE_TABLE_NAME,
        metadata,
        Column("queue", Text, primary_key=True),
        Column("paused_at", UtcTimestamp),
        Column("paused_by", Text),
        Column("reason", Text),
        Column("max_backlog", Integer),  # so many messages may wait
        Column("on_full", Text),  # what a push does then
        Column("concurrency", Integer),
        Column("rate", Integer),
        Column("rate_seconds", Double),
        Column("burst", Integer),
        *[CheckConstraint(condition, name=name) for name, condition in QUEUE_CHECKS.items()],
    )


def _add_slot_table(metadata: MetaData) -> None:
    """Add the slots of queues with limits: a claim takes one for each of its messages."""
    Table(
        SLOT_TABLE_NAME,
        metadata,
        Column("queue", Text, primary_key=True),
        Column("kind", Text, primary_key=True),
        Column("slot", SmallInteger, primary_key=True, autoincrement=False),
        Column("message_id", BigInteger),
        Column("taken_at", UtcTimestamp),
    )


def _add_message_table(metadata: MetaData) -> None:
    table = Table(
        TABLE_NAME,
        metadata,
        Column(
            "id",
            BigInteger().with_variant(Integer, "sqlite"),
            Identity(always=True),
            primary_key=True,
        ),
        # The order is for PostgreSQL (docs/adr/0024): of a row that is rewritten it logs the bytes
        # from the first that changed to the last. So what changes stands together, behind fixed
        # widths and before texts that stay as they are.
        Column("created_at", UtcTimestamp, nullable=False),
        Column(
            "available_at", UtcTimestamp
        ),  # NULL: in line, or claimed along with who has the turn
        Column("due_at", UtcTimestamp),  # in line: not before then; owed: when to look again
        Column("max_attempts", Integer, server_default=text(str(MAX_ATTEMPTS))),
        Column("priority", SmallInteger, nullable=False, server_default=text("0")),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("claimed_at", UtcTimestamp),
        Column("claim_expires_at", UtcTimestamp),
        Column("consumed_at", UtcTimestamp),
        Column("claim_token", Uuid),
        Column("keeps_turn", Boolean),  # its end does not pass the turn of its key on
        Column("status", Text, nullable=False, server_default=text("'available'")),
        Column("claimed_by", Text),
        Column("consumed_by", Text),
        Column("claim_key", Text),
        Column("last_error", Text),
        Column("last_error_class", Text),
        Column("failures", Json),  # of the attempts that failed, the last ones
        Column("queue", Text, nullable=False),
        Column("origin_queue", Text, nullable=False),
        Column("unique_key", Text),
        Column("ordering_key", Text),
        # Former holders of the turn, behind which producers may still write.
        Column("awaited_ids", ARRAY(BigInteger).with_variant(Text, "sqlite")),
        Column("codec", Text),  # NULL: the payload is plain JSON
        Column("headers", Json, nullable=False, server_default=text("'{}'")),
        Column("payload", Json, nullable=False),
        *[CheckConstraint(condition, name=name) for name, condition in CHECKS.items()],
        sqlite_autoincrement=True,  # ids are never given twice, also after prune
    )
    _add_indexes(table)
    storage = {"fillfactor": FILLFACTOR, **AUTOVACUUM}
    settings = ", ".join(f"{name} = {value}" for name, value in storage.items())
    # Not the table's `postgresql_with`, which only SQLAlchemy 2.1 knows.
    stored = DDL(f"ALTER TABLE %(fullname)s SET ({settings})")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", stored.execute_if(dialect="postgresql"))


def _add_indexes(table: Table) -> None:
    column = table.c
    # The second term keeps this index away from `UPDATE ... WHERE id = ... AND status =
    # 'available'`: a plan cached while the table was empty walked it instead of the primary key.
    _partial(
        "ix_xclaim_message_claim",
        "status = 'available' AND available_at IS NOT NULL",
        column.queue,
        column.priority.desc(),
        column.available_at,
        column.id,
    )
    # Not `status = 'claimed'`: an ack would imply it and walk dead entries here.
    _partial(
        "ix_xclaim_message_expiry",
        "claim_expires_at IS NOT NULL",
        column.queue,
        column.claim_expires_at,
    )
    _partial("ix_xclaim_message_claim_key", "claim_key IS NOT NULL", column.claim_key)
    _partial(
        "ix_xclaim_message_consumed", "consumed_at IS NOT NULL", column.queue, column.consumed_at
    )
    # By the queue it was pushed to, which never changes: dead-lettering cannot meet a conflict.
    _partial(
        UNIQUE_KEY_NAME,
        "unique_key IS NOT NULL",
        column.origin_queue,
        column.unique_key,
        unique=True,
    )


def _partial(name: str, condition: str, *columns: object, unique: bool = False) -> None:
    Index(
        name,
        *columns,  # type: ignore[arg-type]  # columns and their descending forms
        unique=unique,
        postgresql_where=text(condition),
        sqlite_where=text(condition),
    )
