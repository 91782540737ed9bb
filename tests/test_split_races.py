"""One queue over two servers, one of which is killed and started again: a race of processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.clusters import Server, new_server
from tests.eventually import PATIENCE, until
from xclaim import Place, Places, Queue, create_engine
from xclaim.operations import migrate

pytestmark = pytest.mark.slow

_SETTINGS = {"synchronous_commit": "on"}
_MANY = 50

# What each process does until the file ``over`` is there. It says what the queue has confirmed.
PRELUDE = """
import itertools, json, os, sys, time
from datetime import timedelta
from sqlalchemy.exc import DBAPIError
from xclaim import ClaimLostError, Places, Queue, Retry
places, over, name = sys.argv[1:]
said = []
def say(message):
    said.append([message.queue, message.id])
def is_over():
    return os.path.exists(over)
WAIT, LEASE = timedelta(seconds=0.5), timedelta(seconds=5)
options = dict(claimed_by=name, wait=WAIT, lease=LEASE)
queue = Queue("orders", Places.from_file(places), notify=True, retry=Retry(first=timedelta(0)))
"""
ENDING = """
queue.close()
print(json.dumps(said))
"""
# A key has its place: those of a server that is away are pushed when it is back.
PRODUCER = """
def unpushed(keys):
    for place, key in enumerate(keys):
        try:
            say(queue.push(key, unique_key=key))
        except DBAPIError:  # done or not: under the same key it may be pushed again
            return keys[place:]
    return []
left, again_at = [], 0
for number in itertools.count():
    if is_over() and not left:
        break
    if not is_over():
        left += unpushed([f"{name}-{number}"])
    if left and time.monotonic() > again_at:
        left, again_at = unpushed(left), time.monotonic() + 1
    time.sleep(0.01)
"""
SINGLY = """
while not is_over():
    try:
        claim = queue.claim(**options)
        if claim is not None:
            queue.ack(claim)
            say(claim.message)
    except (DBAPIError, ClaimLostError):  # comes back after its lease, unless the ack was done
        pass
"""
BLOCKS = """
while not is_over():
    try:
        with queue.consume(**options) as claim:
            pass
        if claim is not None:
            say(claim.message)
    except ClaimLostError:
        pass
"""
AWAITED = """
import asyncio
from xclaim import AsyncQueue
async def main():
    async with AsyncQueue("orders", Places.from_file(places), notify=True) as queue:
        while not is_over():
            try:
                async with queue.consume(**options) as claim:
                    pass
                if claim is not None:
                    say(claim.message)
            except ClaimLostError:
                pass
asyncio.run(main())
"""
STREAM = """
while not is_over():
    try:
        held = []
        for claim in queue.stream(batch=10, **options):
            held.append(claim)
            if is_over():
                break
        for claim in held[:-1] if is_over() else held:
            say(claim.message)
    except ClaimLostError:
        pass
"""


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(new_server(_SETTINGS)) for _ in range(2)]


@pytest.fixture
def places(servers: list[Server], tmp_path: Path) -> Path:
    for server in servers:
        engine = create_engine(server.address)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA queues")
        engine.dispose()
        migrate.upgrade(server.address, schema="queues")
    file = tmp_path / "places.toml"
    file.write_text(
        "".join(
            f'[{name}]\nqueues = ["{pattern}"]\nurl = "{server.address}"\nschema = "queues"\n'
            for name, pattern, server in zip(
                ("north", "south"), ("orders.[01]", "*"), servers, strict=True
            )
        )
        + "[parts]\norders = 4\n"
    )
    return file


@contextmanager
def working(
    places: Path, over: Path, scripts: list[str]
) -> Iterator[Callable[[], list[list[object]]]]:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script + ENDING, places, over, f"worker-{number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number, script in enumerate(scripts)
    ]

    def said() -> list[list[object]]:
        over.touch()
        return [
            each for worker in workers for each in json.loads(worker.communicate(None, PATIENCE)[0])
        ]

    try:
        yield said
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def in_place(place: Place) -> dict[str, int]:
    engine = create_engine(place.url)
    with engine.connect() as connection:
        statuses = text("SELECT status, count(*) FROM queues.xclaim_message GROUP BY status")
        found = {status: count for status, count in connection.execute(statuses)}  # noqa: C416
    engine.dispose()
    return found


def consumed_in(place: Place) -> int:
    return in_place(place).get("consumed", 0)


def test_a_server_of_two_is_killed_and_nothing_is_lost_or_done_twice(
    servers: list[Server], places: Path, tmp_path: Path
) -> None:
    north, south = Places.from_file(places)
    consumers = [SINGLY, BLOCKS, AWAITED, STREAM]
    with (
        working(places, tmp_path / "pushed", [PRODUCER]) as pushed_by_producers,
        working(places, tmp_path / "over", consumers) as acked_by_consumers,
    ):
        until(lambda: consumed_in(north) > _MANY < consumed_in(south))
        servers[1].kill()
        before = consumed_in(north)
        until(lambda: consumed_in(north) > before + _MANY // 2)
        servers[1].start()
        after = consumed_in(south)
        until(lambda: consumed_in(south) > after + _MANY)
        pushed = pushed_by_producers()
        until(lambda: {*in_place(north), *in_place(south)} == {"consumed"})
        acked = acked_by_consumers()

    with Queue("orders", Places.from_file(places)) as queue:
        counts = queue.counts()
    assert counts.consumed == len({tuple(each) for each in pushed})
    assert [each for each, times in Counter(map(tuple, acked)).items() if times > 1] == []
