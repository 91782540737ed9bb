"""A queue in every state, and names, payloads and errors that would like to be something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from xclaim import Queue
from xclaim.retry import Retry
from xclaim.sql.schema import message_table

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
LINK = "javascript:alert(1)"
TURNED = "\u202etxt.exe"
LONG = "x" * 3_000
STEERING = "\x1b[31m\x07\u200b\ufeff<b>"
HOSTILE = (SCRIPT, IMAGE, LINK, TURNED, "{{ 7 * 7 }}", "a\nb", "\N{PILE OF POO}", STEERING, LONG)
# Names that no queue accepts, and a hand can write into the table.
BY_HAND = (TURNED, "a\nb", STEERING, LONG, "..", "%2e%2e/", "a?b=1&c#d", " ", ".dead", "-")
SECRET = "what only its consumer should read"
SECRET_ERROR = "what only who may see payloads should read of errors"
_AT_ONCE = timedelta(0)
_TASK = {"dag_id": "shop", "run_id": "manual__2026/11/27", "task_id": "push", "map_index": 3}
_BY = "shop/manual__2026/11/27/work[3]#2@worker-1"


def fill(engine: Engine, name: str = "orders") -> None:
    """Fill a queue: available, delayed, retrying, claimed, lapsed, dead and consumed messages."""
    queue: Queue[Any] = Queue(name, engine)
    headers = {**_TASK, "try_number": 1}
    queue.push_many([{"secret": SECRET, "n": n} for n in range(12)], headers=headers)
    queue.push(SECRET, delay=timedelta(hours=1), unique_key=f"key {IMAGE}")
    for text in HOSTILE:
        pushed = queue.push({"text": text}, unique_key=text[:200], headers={"note": text})
        claim = queue.claim_message(pushed.id, claimed_by=text[:100])
        assert claim is not None
        queue.release(claim, error=text, retry=Retry(max_attempts=1))
    queue.release(_claim(queue), error=ValueError(SCRIPT))
    queue.release(_claim(queue), error=ValueError(SECRET_ERROR))
    queue.release(_claim(queue), error=KeyError(SECRET_ERROR), retry=Retry(max_attempts=1))
    queue.ack_many(queue.claim_many(5, claimed_by=_BY))
    _claim(queue)
    _claim(queue, lease=_AT_ONCE)


def _claim(queue: Queue[Any], lease: timedelta = timedelta(minutes=5)) -> Any:
    claim = queue.claim(claimed_by=_BY, lease=lease)
    assert claim is not None
    return claim


def fill_all(engine: Engine) -> None:
    """Fill some queues, of which some have hostile names."""
    fill(engine)
    for name in filter(str.isprintable, HOSTILE):  # others are no names of queues
        Queue(name[:200], engine).push({"queue": "of a hostile name"})
    idle: Queue[Any] = Queue("idle", engine)
    idle.push(1)
    idle.ack(_claim(idle))
    idle.pause(reason=SCRIPT, by=IMAGE)


def fill_by_hand(engine: Engine) -> None:
    """Write messages with names that no queue accepts."""
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as connection:
        connection.execute(message_table().insert(), [*_by_hand(is_sqlite=is_sqlite)])


def _by_hand(*, is_sqlite: bool) -> Iterator[dict[str, Any]]:
    """Yield rows of names that no queue accepts: one that waits, one that died, one that is done.

    What names the producer and the consumer is hostile as well.
    """
    as_json = json.dumps if is_sqlite else dict
    now = datetime.now(UTC) - timedelta(minutes=1)
    names = {"codec": None, "unique_key": None, "last_error_class": None, "last_error": None}
    for name in BY_HAND:
        headers = {"dag_id": name, "run_id": name, "task_id": name, "map_index": name}
        row = {
            **names,
            "queue": name,
            "origin_queue": name,
            "status": "available",
            "payload": as_json({name: name}),
            "headers": as_json(headers),
            "created_at": now,
            "available_at": now,
            "claimed_at": None,
            "consumed_at": None,
            "consumed_by": None,
        }
        yield row
        yield {**row, "queue": f"{name}.dead", "last_error_class": name, "last_error": f"{name}\n"}
        done = {"claimed_at": now, "consumed_at": now, "consumed_by": "/".join([name] * 3) + "#1@h"}
        yield {**row, **done, "status": "consumed", "unique_key": name[:1_000]}
