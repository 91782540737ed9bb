"""The page of the table, from its declaration; what a column means is said here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex

from tests.reference import markdown
from tests.reference.markdown import block, code, table
from xclaim.sql.schema import (
    AUTOVACUUM,
    CHECKS,
    FILLFACTOR,
    QUEUE_CHECKS,
    REVISION,
    VERSION_TABLE_NAME,
    message_table,
    queue_table,
    slot_table,
)

_DIALECTS: tuple[Any, Any] = (postgresql.dialect(), sqlite.dialect())  # type: ignore[no-untyped-call]
COLUMNS = {
    "id": "Given by the database, each higher than those before. Never given twice.",
    "created_at": "When it was pushed. All times are the database's clock, in UTC.",
    "available_at": "From when it can be claimed: later than now for what is delayed or rests. "
    "NULL: it stands in line, behind another with its ordering key, or was claimed along with it.",
    "due_at": "Before when it does not take its turn, while it stands in line. Of a message that "
    "has ended, or was given back, and could not pass its turn on: when that is tried again.",
    "keeps_turn": "Whether its end as a dead letter does not pass its turn on "
    '(`on_dead="hold"`), or could not yet.',
    "ordering_key": "Of the messages of a queue with the same one, one at a time can be claimed or "
    "is.",
    "awaited_ids": "Former holders of its turn behind which producers may still be writing, and "
    "itself, if it could not pass its turn on.",
    "max_attempts": "After so many failed attempts it is a dead letter. NULL: never.",
    "priority": "Higher is claimed first.",
    "attempts": "How often it was claimed.",
    "claimed_at": "When the present or last claim was made. NULL while it is available.",
    "claim_expires_at": "When the lease of the present claim runs out.",
    "consumed_at": "When it was acked.",
    "claim_token": "The receipt of the present claim: whoever has it may settle the message.",
    "status": "`available`, `claimed` or `consumed`.",
    "claimed_by": "Who holds it.",
    "consumed_by": "Who acked it.",
    "claim_key": "Names a claimant that may come back for it, such as a task instance.",
    "last_error": "What the last failed attempt raised, in 10,000 characters at most.",
    "last_error_class": "The class of that exception.",
    "failures": "The last twenty failed attempts; the view `xclaim_failures` takes them apart.",
    "queue": "Where it waits: `<name>.dead` for a dead letter.",
    "origin_queue": "Where it was pushed to.",
    "unique_key": "Given by the producer: there is one message of it in its `origin_queue`.",
    "codec": "How the payload is encoded. NULL: it is plain JSON.",
    "headers": "A JSON object of the producer's: in Airflow its DAG, run and task.",
    "payload": "The payload, or what stands for one that is encoded or stored elsewhere.",
}
QUEUE_COLUMNS = {
    "queue": "The queue that the settings are for.",
    "paused_at": "Since when it hands out nothing. NULL: it is not paused.",
    "paused_by": "Who paused it.",
    "reason": "Why, if somebody said so.",
    "max_backlog": "How many messages may wait in it. NULL: any number.",
    "on_full": "What a push does when so many wait: `raise`, `wait` or `skip`.",
    "concurrency": "How many messages are claimed at once. NULL: any number.",
    "rate": "How many claims begin in `rate_seconds`. NULL: any number.",
    "rate_seconds": "The time of the rate.",
    "burst": "How many claims of the rate may begin together.",
}
SLOT_COLUMNS = {
    "queue": "The queue with a limit.",
    "kind": "Of which limit: `concurrency` or `rate`.",
    "slot": "Its number, from 0.",
    "message_id": "The message whose claim took the slot last.",
    "taken_at": "When: the `claimed_at` of that claim.",
}
_QUEUE_CHECKS = {
    "ck_xclaim_queue_name": "Every setting is that of a queue.",
    "ck_xclaim_queue_limits": "A limit is a number above zero, and a rate has its time and "
    "burst, which is over within a thousand years.",
    "ck_xclaim_queue_paused": "Somebody has paused what is paused; what is not has no reason.",
    "ck_xclaim_queue_backlog": "From 1 to a million may wait, and then a push does one of three.",
}
_CHECKS = {
    "ck_xclaim_message_status": "There are three statuses: what is claimed has a token, what is "
    "consumed has a time of consumption, what is available has neither.",
}
_INDEXES = {
    "ix_xclaim_message_claim": "`claim`: what is available, in its order.",
    "ix_xclaim_message_expiry": "`expire`: leases that ran out.",
    "ix_xclaim_message_claim_key": "`claim(claim_key=...)`: what a claimant held before.",
    "ix_xclaim_message_consumed": "`prune`: what was consumed before a time.",
    "uq_xclaim_message_unique_key": "`push(unique_key=...)`: pushed once.",
}


def page() -> str:
    """Return the page."""
    name = message_table().name
    return markdown.page(
        "Schema",
        f"The table `{name}` with its columns, checks and indexes. `xclaim upgrade` makes it; this "
        f"is revision {REVISION}, which the table `{VERSION_TABLE_NAME}` keeps.",
        "## Columns",
        table(
            ("column", "PostgreSQL", "SQLite", "NULL", "default", "meaning"),
            _columns(message_table(), COLUMNS),
        ),
        "On SQLite JSON is text, and so is a time: ISO 8601 in UTC, which sorts as it should.",
        "## Checks",
        "The database refuses whatever breaks this one, whoever writes it.",
        table(("check", "promise", "condition"), _checks(CHECKS, _CHECKS)),
        "What else a row promises the verbs keep, and [`xclaim audit`](../operations/audit.md) "
        "looks for rows that somebody wrote otherwise: PostgreSQL compiles each CHECK anew in "
        "every statement that writes to the table.",
        "## Indexes",
        "Each serves one verb, and is partial: what is consumed costs a claim nothing.",
        table(("index", "serves"), _indexes()),
        block("\n\n".join(_statements()), "sql no-run: xclaim upgrade runs them"),
        "## Storage",
        "On PostgreSQL the table is made with these settings, for rows that are rewritten two or "
        "three times.",
        table(("setting", "value"), _storage()),
        "## Settings of queues",
        f"The table `{queue_table().name}` has a row for each queue that was ever paused or "
        "limited; all others have none. A claim that looks from the head of the queue reads it.",
        table(
            ("column", "PostgreSQL", "SQLite", "NULL", "default", "meaning"),
            _columns(queue_table(), QUEUE_COLUMNS),
        ),
        table(("check", "promise", "condition"), _checks(QUEUE_CHECKS, _QUEUE_CHECKS)),
        "## Slots",
        f"The table `{slot_table().name}` has the slots of queues with [limits]"
        "(../guides/limits.md): a claim takes one for each of its messages. It is empty as long "
        "as no queue has limits.",
        table(
            ("column", "PostgreSQL", "SQLite", "NULL", "default", "meaning"),
            _columns(slot_table(), SLOT_COLUMNS),
        ),
        "## Besides the table",
        "The [views](views.md). On PostgreSQL the function `xclaim_delete(bigint[], text)`, by "
        "which a [maintainer](../security.md) deletes, and the verbs as [functions](functions.md). "
        "What [ordering keys](../guides/ordering.md) need comes with `xclaim ordering enable`: "
        "indexes, triggers and functions. The statements that xclaim sends stand in "
        "[postgresql.sql](../sql/postgresql.sql) and [sqlite.sql](../sql/sqlite.sql).",
    )


def _columns(of_table: Table, meanings: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for column in of_table.columns:
        default: Any = column.server_default
        identity = "identity" if column.identity is not None else ""
        yield (
            code(column.name),
            *(column.type.compile(dialect=dialect).lower() for dialect in _DIALECTS),
            "yes" if column.nullable else "no",
            identity or (code(default.arg.text) if default is not None else ""),
            meanings[column.name],
        )


def _checks(
    conditions: Mapping[str, str], promises: Mapping[str, str]
) -> Iterator[tuple[str, ...]]:
    for name, condition in conditions.items():
        yield code(name), promises[name], code(condition)


def _indexes() -> Iterator[tuple[str, ...]]:
    for index in _sorted_indexes():
        yield code(str(index.name)), _INDEXES[str(index.name)]


def _statements() -> Iterator[str]:
    for index in _sorted_indexes():
        made = str(CreateIndex(index).compile(dialect=_DIALECTS[0]))
        yield made.replace(" ON ", "\n    ON ").replace(" WHERE ", "\n WHERE ") + ";"


def _sorted_indexes() -> list[Any]:
    return sorted(message_table().indexes, key=lambda index: str(index.name))


def _storage() -> Iterator[tuple[str, str]]:
    for name, value in {"fillfactor": FILLFACTOR, **AUTOVACUUM}.items():
        yield code(name), str(value)
