"""The workers in Node and Java: beside those in Python, woken, killed, and without a claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import java, node
from tests.eventually import until
from tests.languages.conftest import EXAMPLES, Place, Program, Start

pytestmark = pytest.mark.slow

NEVER = "3600"  # seconds between two looks: it goes by wake-ups
ERROR_CLASSES = {"node": "TypeError", "java": "IllegalArgumentException"}
Worker = Callable[..., Program]


@pytest.fixture(params=["node", pytest.param("java", marks=java.needs_java)])
def language(request: pytest.FixtureRequest) -> str:
    """Return the language of the worker."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def node_worker() -> Path:
    """Return the worker, with the packages that its lock file names: installed once."""
    folder = EXAMPLES / "node"
    stamp, lock = folder / "node_modules" / ".installed", (folder / "package-lock.json").read_text()
    if not stamp.exists() or stamp.read_text() != lock:
        node.npm("ci", folder=folder)
        stamp.write_text(lock)
    return folder / "worker.js"


@pytest.fixture
def command(
    language: str, place: Place, request: pytest.FixtureRequest
) -> tuple[list[str | Path], Mapping[str, str]]:
    """Return how the worker is started, and the variable by which it finds the database."""
    if language == "java":
        command: list[str | Path] = [*java.command(), EXAMPLES / "java" / "Worker.java"]
        return command, {"JDBC_URL": java.url_of(place.engine.url)}
    return [node.program(), request.getfixturevalue("node_worker")], {"DATABASE_URL": place.url}


@pytest.fixture
def worker(
    start: Start, place: Place, command: tuple[list[str | Path], Mapping[str, str]]
) -> Worker:
    """Return what starts a worker on `orders`, which is woken and looks at nothing by itself."""
    place.run("CREATE TABLE shipment (message bigint, order_number integer)")
    line, database = command

    def run(**variables: str) -> Program:
        program = start([*line, "orders"], **database, **{"LOOK_SECONDS": NEVER, **variables})
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


def test_what_raises_is_released_with_its_error(
    place: Place, worker: Worker, language: str
) -> None:
    message = place.queue().push({"no": "order"}, max_attempts=1)

    worker()

    until(lambda: place.queue().counts().dead_letters == 1)
    dead = place.queue().get(message.id)
    assert dead is not None
    assert dead.last_error is not None
    assert dead.last_error.endswith(f"{ERROR_CLASSES[language]}: the payload has no order")
    assert dead.last_error_class == ERROR_CLASSES[language]


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


def test_what_only_python_can_read_is_released(place: Place, worker: Worker, language: str) -> None:
    message = place.queue().push(
        {"order": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}, max_attempts=1
    )

    worker()

    until(lambda: place.queue().counts().dead_letters == 1)
    dead = place.queue().get(message.id)
    assert dead is not None
    assert "only Python can read a payload with the codec" in str(dead.last_error)
    assert dead.last_error_class == ERROR_CLASSES[language]
    assert shipped(place) == []
