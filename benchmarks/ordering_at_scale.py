"""What order reads at scale: `python -m benchmarks.ordering_at_scale [--messages N]`.

The pages of the message table and its indexes that each verb reads, with all that its triggers and
functions read, where a million keys have a message each, and where one key has a million whose
first is claimed: the median of some calls. PostgreSQL counts them, as for EXPLAIN
(BUFFERS), which leaves triggers out. A claim that reads more than 40 pages, the aim, ends the run.
Pages do not hang on how busy the machine is; the milliseconds of what reads a whole line do.

And what push, claim and ack of a message read under one busy key, with its triggers, by fifths of
5,000 messages: while nobody holds an old snapshot, and while somebody does.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Engine, text

from benchmarks.measuring import WrongResultError
from benchmarks.server import run_server, settle
from benchmarks.sides.checkout import ROOT
from xclaim import Queue, create_engine
from xclaim.operations import audit, migrate, ordering

OUTPUT = ROOT / "benchmarks" / "output" / "ordering_at_scale.json"
_MOST_PAGES = 40
_CALLS = 9
_BUSY, _FIFTHS = 5_000, 5
_FILL = text(
    "INSERT INTO xclaim_message"
    " (queue, origin_queue, payload, headers, ordering_key, created_at, available_at, due_at)"
    " SELECT 'orders', 'orders', '{}', '{}',"
    "        CASE WHEN :in_one THEN 'key' ELSE concat('key ', number) END, now(),"
    "        CASE WHEN NOT :in_one OR number = 1 THEN now() END,"
    "        CASE WHEN :in_one AND number > 1 THEN now() END"
    "   FROM generate_series(1, :messages) AS number"
)
_PAGES = (
    "SELECT coalesce(sum(heap_blks_read + heap_blks_hit"
    " + coalesce(idx_blks_read, 0) + coalesce(idx_blks_hit, 0)), 0)::bigint"
    " FROM pg_statio_user_tables WHERE relname = 'xclaim_message'"
)

Found = dict[str, dict[str, float]]


class Scene:
    """A filled queue on one connection, whose pages are counted."""

    def __init__(self, url: str) -> None:
        address = re.sub("^postgresql:", "postgresql+psycopg:", url)
        self._engine = create_engine(address, pool_size=1, max_overflow=0)
        self._other = create_engine(address)
        self.queue: Queue[Any] = Queue("orders", self._engine)
        self._taken: dict[str, list[tuple[int, float]]] = {}

    @property
    def engine(self) -> Engine:
        """The engine of the queue, on one connection."""
        return self._engine

    def measure(self, name: str, work: Callable[[], Any], *, expected: object = None) -> Any:
        """Do it, note its pages and milliseconds, and return what it returned."""
        result, pages, took = self.counted(work)
        if result is None and expected is not None:
            raise WrongResultError(f"{name} found nothing")
        self._taken.setdefault(name, []).append((pages, took))
        return result

    def counted(self, work: Callable[[], Any]) -> tuple[Any, int, float]:
        """Do it, and return what it returned, its pages and its milliseconds."""
        before = self._pages()
        began = time.perf_counter()
        result = work()
        took = (time.perf_counter() - began) * 1e3
        return result, self._pages() - before, took

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold a snapshot during the block, as a long report does."""
        options = {"isolation_level": "REPEATABLE READ"}
        with self._other.connect().execution_options(**options) as connection:
            connection.exec_driver_sql("SELECT count(*) FROM xclaim_message")
            yield

    def found(self) -> Found:
        """Return what was measured. The first call of each plans, and reads for that, too."""
        found = {}
        for name, taken in self._taken.items():
            pages = [each for each, _ in taken]
            found[name] = {
                "pages": statistics.median(pages),
                "of the first call": pages[0],
                "most of the others": max(pages[1:], default=pages[0]),
                "ms": round(statistics.median(took for _, took in taken), 2),
            }
        if found["claim"]["pages"] > _MOST_PAGES:
            raise WrongResultError(f"a claim read more than {_MOST_PAGES} pages: {found}")
        return found

    def owe(self, key: str) -> None:
        """Leave a turn owed: the only one of its line is acked while somebody pushes behind it."""
        self.queue.push(1, ordering_key=key, priority=1_000)
        with self._other.begin() as connection:
            Queue("orders", connection).push(2, ordering_key=key)
            claim = _claimed(self.queue)
            if claim.message.ordering_key != key:
                raise WrongResultError("another message than the one to be owed was claimed")
            self.queue.ack(claim)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()
        self._other.dispose()

    def _pages(self) -> int:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
            return int(connection.exec_driver_sql(_PAGES).scalar_one())


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ordering_at_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--messages", type=int, default=1_000_000)
    messages = parser.parse_args().messages
    cases: Mapping[str, bool] = {
        f"{messages:,} keys": False,
        f"one key of {messages:,}, its first claimed": True,
    }
    found: dict[str, Found] = {}
    with run_server(autovacuum="off", synchronous_commit="off") as server:
        for name, in_one in cases.items():
            with server.copy_of() as url:
                found[name] = _measured(url, messages, in_one=in_one)
            print(name, json.dumps(found[name], indent=1), flush=True)
        for name, is_held in {"no snapshot": False, "an old snapshot": True}.items():
            name = f"{_BUSY:,} messages through one key, {name} held"  # noqa: PLW2901
            with server.copy_of() as url:
                found[name] = _of_a_busy_key(url, is_held=is_held)
            print(name, json.dumps(found[name], indent=1), flush=True)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n")


def _measured(url: str, messages: int, *, in_one: bool) -> Found:
    migrate.upgrade(url)
    scene = Scene(url)
    with scene.engine.begin() as connection:
        connection.execute(_FILL, {"in_one": in_one, "messages": messages})
    ordering.enable(url)
    settle(url)
    first = scene.queue.claim() if in_one else None
    scene.queue.push_many(
        [{}] * _CALLS * 6, ordering_keys=[f"other {number}" for number in range(_CALLS * 6)]
    )
    _verbs(scene, first)
    _of_all(scene)
    scene.close()
    return scene.found()


def _verbs(scene: Scene, first: Any) -> None:
    queue = scene.queue
    for number in range(_CALLS):
        held = scene.measure("claim", queue.claim, expected="a claim")
        scene.measure("push behind a line", partial(queue.push, {}, ordering_key="key"))
        scene.measure("push of a new key", partial(queue.push, {}, ordering_key=f"new {number}"))
        scene.measure("ack, nobody in line", partial(queue.ack, held))
        scene.measure("release", partial(queue.release, _claimed(queue)))
    if first is not None:
        for _ in range(_CALLS):
            scene.measure("ack that passes the turn", partial(queue.ack, first))
            while (first := _claimed(queue)).message.ordering_key != "key":
                queue.ack(first)
    for number in range(_CALLS):
        scene.owe(f"owed {number}")
        time.sleep(0.1)  # it is due a moment after its holder has ended
        scene.measure("expire that passes a turn on", queue.expire)
        queue.claim(lease=timedelta(0))
        scene.measure("expire of a lapsed claim", queue.expire)


def _of_a_busy_key(url: str, *, is_held: bool) -> Found:
    migrate.upgrade(url)
    ordering.enable(url)
    scene = Scene(url)
    size = _BUSY // _FIFTHS
    found = {}
    with scene.snapshot() if is_held else nullcontext():
        scene.queue.push(0, ordering_key="busy")
        for fifth in range(_FIFTHS):
            numbers = range(fifth * size, (fifth + 1) * size)
            _, pages, took = scene.counted(partial(_pass_through, scene.queue, numbers))
            found[f"fifth {fifth + 1}"] = {
                "pages a message": round(pages / size, 1),
                "ms a message": round(took / size, 2),
            }
    scene.close()
    return found


def _pass_through(queue: Queue[Any], numbers: range) -> None:
    """Let the next of the line stand behind each that is claimed and acked."""
    for number in numbers:
        queue.push(number + 1, ordering_key="busy")
        claim = _claimed(queue)
        if claim.payload != number:
            raise WrongResultError(f"{claim.payload} was claimed instead of {number}")
        queue.ack(claim)


def _claimed(queue: Queue[Any]) -> Any:
    claim = queue.claim()
    if claim is None:
        raise WrongResultError("nothing was there to be claimed")
    return claim


def _of_all(scene: Scene) -> None:
    scene.measure("counts", scene.queue.counts)
    if not scene.measure("audit", partial(audit.audit, scene.engine)).is_sound:
        raise WrongResultError("the audit found something")


if __name__ == "__main__":
    main()
