"""The worker in Node: beside those in Python, woken, killed, and when it loses its claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import node
from tests.eventually import until
from tests.languages.conftest import EXAMPLES, Place, Program, Start

pytestmark = pytest.mark.slow

FOLDER = EXAMPLES / "node"
NEVER = "3600"  # seconds between two looks: it goes by wake-ups
Worker = Callable[..., Program]


@pytest.fixture(scope="module")
def worker_file() -> Path:
    """Return the worker, with the packages that its lock file names: installed once."""
    stamp, lock = FOLDER / "node_modules" / ".installed", (FOLDER / "package-lock.json").read_text()
    if not stamp.exists() or stamp.read_text() != lock:
        node.npm("ci", folder=FOLDER)
        stamp.write_text(lock)
    return FOLDER / "worker.js"


@pytest.fixture
def worker(start: Start, place: Place, worker_file: Path) -> Worker:
    """Return what starts a worker on `orders`, which is woken and looks at nothing by itself."""
    place.run("CREATE TABLE shipment (message bigint, order_number integer)")

    def run(**variables: str) -> Program:
        given = {"DATABASE_URL": place.url, "LOOK_SECONDS": NEVER, **variables}
        program = start([node.program(), worker_file, "orders"], **given)
        program.wait_for("works on orders")
        return program

    return run


def shipped(place: Place) -> list[object]:
    return [number for (number,) in place.run("SELECT order_number FROM shipment ORDER BY 1")]


def test_it_works_on_what_is_there_and_is_woken_by_what_comes(place: Place, worker: Worker) -> None:
    place.queue().push_many([{"order": 1}, {"order": 2}])
    worker()
    until(lambda: shipped(place) == [1, 2])

    place.queue().push({"order": 3})

    until(lambda: shipped(place) == [1, 2, 3])
    assert place.queue().counts().consumed == 3


def test_it_shares_a_queue_with_python(place: Place, worker: Worker) -> None:
    queue = place.queue()
    worker()

    queue.push_many([{"order": number} for number in range(200)])
    here = [claimed.payload["order"] for claimed in queue.stream(batch=1)]

    until(lambda: queue.counts().consumed == 200)
    assert sorted([*here, *shipped(place)]) == list(range(200))


def test_what_raises_is_released_with_its_error(place: Place, worker: Worker) -> None:
    message = place.queue().push({"no": "order"}, max_attempts=1)

    worker()

    until(lambda: place.queue().counts().dead_letters == 1)
    dead = place.queue().get(message.id)
    assert dead is not None
    assert dead.last_error == "TypeError: the payload has no order"
    assert dead.last_error_class == "TypeError"


def test_a_worker_that_is_killed_loses_nothing_and_does_nothing_twice(
    place: Place, worker: Worker
) -> None:
    queue = place.queue()
    queue.push({"order": 1})
    with place.locked("shipment"):
        program = worker()
        until(place.is_anyone_waiting)
        program.kill()
    place.end_leases(queue)

    worker()

    until(lambda: queue.counts().consumed == 1)
    assert shipped(place) == [1]


def test_of_a_claim_that_was_lost_nothing_is_written(place: Place, worker: Worker) -> None:
    queue = place.queue()
    queue.push({"order": 1})
    with place.locked("shipment"):
        program = worker()
        until(place.is_anyone_waiting)
        place.end_leases(queue)
        theirs = queue.claim()

    program.wait_for("XC001")
    assert theirs is not None
    queue.ack(theirs)
    assert shipped(place) == []
    assert queue.counts().consumed == 1


def test_its_lease_is_extended_while_it_works(place: Place, worker: Worker) -> None:
    queue = place.queue()
    queue.push({"order": 1})
    with place.locked("shipment"):
        worker(LEASE_SECONDS="1")
        until(place.is_anyone_waiting)
        ends = "SELECT max(claim_expires_at) FROM xclaim_message"
        first = place.run(ends)
        until(lambda: place.run(ends) > first)

    until(lambda: queue.counts().consumed == 1)


def test_a_supervisor_can_stop_it(place: Place, worker: Worker) -> None:
    program = worker()

    assert program.end() == 0
    assert place.queue().counts().claimed == 0
