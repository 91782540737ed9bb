"""A queue in every state, and names, payloads and errors that would like to be something else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

from xclaim import Queue
from xclaim.retry import Retry

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
LINK = "javascript:alert(1)"
TURNED = "\u202etxt.exe"
LONG = "x" * 3_000
HOSTILE = (SCRIPT, IMAGE, LINK, TURNED, "{{ 7 * 7 }}", "a\nb", "\N{PILE OF POO}", LONG)
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
