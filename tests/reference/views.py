"""The page of the views, from the database itself; what a column means is said here."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Engine, create_engine, inspect

from tests.reference import markdown
from tests.reference.markdown import code, table
from tests.reference.schema import COLUMNS
from xclaim.operations import migrate

_VIEWS = {
    "xclaim_queue_stats": "A row for each queue, its dead letters folded in. It counts every row.",
    "xclaim_lineage": (
        "A row for each message: which Airflow task pushed it, and which one has it or consumed it."
    ),
    "xclaim_overview": "A row for each message, without payload, headers, error texts and token.",
    "xclaim_failing": "A row for each message that failed and will be tried again.",
    "xclaim_dead_letters": "A row for each queue of dead letters and class of error.",
    "xclaim_failures": "A row for each failed attempt that is kept, up to twenty of a message.",
}
_QUEUE_STATS = {
    "queue": "The queue, without `.dead`.",
    "available": "Messages that can be claimed now.",
    "delayed": "Messages that can be claimed later, because they are delayed or rest.",
    "claimed": "Messages that somebody holds.",
    "consumed": "Messages that were acked and not pruned.",
    "dead_letters": "Messages in `<queue>.dead`.",
    "retrying": "Of those available or delayed, how many were tried before.",
    "next_try_at": "When the next of these can be claimed.",
    "in_line": "Stand in line, behind another with their ordering key; not available, not delayed.",
    "head_attempts": "How often the message was tried that would be claimed next.",
    "oldest_available_age": "How long the oldest available message waits; seconds on SQLite.",
    "oldest_claim_age": "How long the oldest claim has been held; seconds on SQLite.",
}
_TASK = {
    "dag_id": "its DAG",
    "run_id": "its run",
    "task_id": "its task",
    "map_index": "its map index, -1 if the task is not mapped",
    "try_number": "its try",
}
_LINEAGE = {
    "queue": "Where it was pushed to.",
    "consumer": "Who acked it, else who holds it.",
    **{f"producer_{name}": f"Of the task that pushed it: {what}." for name, what in _TASK.items()},
    **{
        f"consumer_{name}": f"Of the task that acked or holds it: {what}."
        for name, what in _TASK.items()
    },
}
_OWN = {
    "xclaim_queue_stats": _QUEUE_STATS,
    "xclaim_lineage": _LINEAGE,
    "xclaim_overview": {},
    "xclaim_failing": {
        "next_try_at": "From when it can be claimed again.",
        "error_class": "The class of the last error; NULL: it was released with a text.",
    },
    "xclaim_dead_letters": {
        "queue": "The queue of dead letters, `<queue>.dead`.",
        "error_class": "The class of the last error; NULL: it was released with a text.",
        "messages": "How many there are.",
        "first_died_at": "When the first of them died.",
        "last_died_at": "When the last of them died.",
        "newest_id": "The highest id among them, to look at one.",
    },
    "xclaim_failures": {
        "attempt": "Which attempt it was.",
        "failed_at": "When it failed, as text.",
        "claimed_by": "Whose attempt it was.",
        "error_class": "The class of the exception.",
        "error": "Its text.",
    },
}


def page() -> str:
    """Return the page."""
    engine = create_engine("sqlite://")
    migrate.upgrade(engine)
    found = columns(engine)
    engine.dispose()
    return markdown.page(
        "Views",
        "What to ask in SQL: the six views, and each column. From PostgreSQL 15 on a view shows "
        "what the role that asks may see; [monitoring](../operations/monitoring.md) uses "
        "them.",
        *[part for name in found for part in _section(name, found[name])],
    )


def columns(engine: Engine) -> dict[str, list[str]]:
    """Return the columns of each view in a database."""
    found = inspect(engine)
    return {name: [column["name"] for column in found.get_columns(name)] for name in _VIEWS}


def _section(name: str, names: list[str]) -> Iterator[str]:
    meanings = COLUMNS | _OWN[name]
    yield f"## {name}"
    yield _VIEWS[name]
    yield table(("column", "meaning"), [(code(each), meanings[each]) for each in names])
