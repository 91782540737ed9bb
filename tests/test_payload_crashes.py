"""Workers that are killed while they store and delete: never a row without its object."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.eventually import until
from xclaim import Payloads, Queue, create_engine
from xclaim.operations.orphans import prune_orphans

pytestmark = pytest.mark.slow

KILLS = 6
WORK = """
import os, sys
from datetime import timedelta
from xclaim import Payloads, Queue

url, storage = sys.argv[1:]
with Queue("reports", url, payloads=Payloads(storage=storage, threshold=1_000)) as queue:
    for number in range(1_000_000):
        queue.push_many([f"{os.getpid()} {number} " * 200] * 3)
        with queue.consume() as claimed:
            assert claimed.payload
        if number % 5 == 0:
            queue.prune(older_than=timedelta(0))
"""


def objects(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_no_kill_leaves_a_row_without_its_object(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "payloads"
    payloads = Payloads(storage=folder.as_uri(), threshold=1_000)
    worker = [sys.executable, "-c", WORK, database_url, folder.as_uri()]

    for kill in range(KILLS):
        before = len(objects(folder))
        process = subprocess.Popen(worker)
        until(lambda before=before: len(objects(folder)) >= before + 10)  # type: ignore[misc]
        time.sleep(0.01 * kill)  # another place each time
        process.send_signal(signal.SIGKILL)
        process.wait()

    engine = create_engine(database_url)
    with Queue("reports", engine, payloads=payloads) as queue:
        queue.expire()
        rows = queue.counts()
        messages = queue.peek(100_000)
        assert all(message.payload for message in messages)
        for path in objects(folder):
            os.utime(path, (time.time() - 7_200,) * 2)
        found = prune_orphans(engine, payloads, older_than=timedelta(hours=1))
        stored = rows.available + rows.claimed + rows.consumed
        assert found.examined - found.removed == len(objects(folder)) == stored
        assert all(message.open().read() for message in messages)
    engine.dispose()


DIES = """
import os, sys
from datetime import timedelta
from xclaim import Payloads, Queue
from xclaim.connections import runner
from xclaim.verbs import pushing

def die(*_, **options): os._exit(9)

queue = Queue("reports", sys.argv[1], payloads=Payloads(storage=sys.argv[2], threshold=10))
if sys.argv[3] == "before the row":
    pushing.execute = die
queue.push("x" * 100)
queue.ack(queue.claim())
runner.delete_objects = die
queue.prune(older_than=timedelta(0))
"""


@pytest.mark.parametrize("when", ["before the row", "before the object is deleted"])
def test_what_dies_in_between_leaves_an_orphan(
    database_url: str, tmp_path: Path, when: str
) -> None:
    folder = tmp_path / "payloads"
    died = subprocess.run(
        [sys.executable, "-c", DIES, database_url, folder.as_uri(), when], check=False
    )

    assert died.returncode == 9
    with Queue("reports", database_url) as queue:
        counts = queue.counts()
    assert (counts.available, counts.consumed) == (0, 0)
    assert len(objects(folder)) == 1
