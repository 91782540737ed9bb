"""The worker of psql, the trigger that fills a queue, and the statements for pg_cron."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.eventually import until
from tests.languages.conftest import EXAMPLES, Place, Program, Start
from xclaim import Queue

pytestmark = pytest.mark.slow

JOB = re.compile(r"SELECT cron\.schedule\('([^']+)', '[^']+', \$\$(.+?)\$\$\);", re.DOTALL)
Worker = Callable[..., Program]


@pytest.fixture
def worker(start: Start, place: Place) -> Worker:
    """Return what starts a worker on `orders` with a program of one line of shell."""

    def run(program: str, **variables: str) -> Program:
        command = [EXAMPLES / "psql" / "worker.sh", "orders", "sh", "-c", program]
        return start(command, DATABASE_URL=place.url, LOOK_SECONDS="0.1", **variables)

    return run


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_what_its_program_ends_well_is_acked(place: Place, worker: Worker, tmp_path: Path) -> None:
    payloads = [{"order": 1, "to": "Tea\tpot \\n 'Lane'"}, ["ü", None]]
    place.queue().push_many(payloads)

    program = worker("cat >> seen")

    until(lambda: place.queue().counts().consumed == 2)
    assert len(lines(tmp_path / "seen")) == 2
    assert "acked" in program.printed()


def test_it_comes_upon_what_is_pushed_later(place: Place, worker: Worker, tmp_path: Path) -> None:
    worker("cat >> seen")

    place.queue().push({"order": 1})

    until(lambda: lines(tmp_path / "seen") == ['{"order": 1}'])


def test_what_its_program_fails_is_released_with_the_status(place: Place, worker: Worker) -> None:
    message = place.queue().push(1, max_attempts=1)

    worker("exit 7")

    until(lambda: place.queue().counts().dead_letters == 1)
    dead = place.queue().get(message.id)
    assert dead is not None
    assert dead.last_error == "sh ended with status 7"


def test_what_it_cannot_read_is_released_with_the_codec(
    place: Place, worker: Worker, tmp_path: Path
) -> None:
    message = place.queue().push({"due": datetime(2026, 11, 28, tzinfo=UTC)}, max_attempts=1)
    place.queue().push({"order": 1})

    worker("cat >> seen")

    until(lambda: place.queue().counts().consumed == 1)
    until(lambda: place.queue().counts().dead_letters == 1)
    dead = place.queue().get(message.id)
    assert dead is not None
    assert "only Python can read a payload with the codec" in str(dead.last_error)
    assert lines(tmp_path / "seen") == ['{"order": 1}']


def test_what_takes_longer_than_its_lease_has_failed(place: Place, worker: Worker) -> None:
    message = place.queue().push(1, max_attempts=1)

    worker("sleep 600", LEASE_SECONDS="1")

    until(lambda: place.queue().counts().dead_letters == 1)
    dead = place.queue().get(message.id)
    assert dead is not None
    assert dead.last_error is not None


def test_a_worker_that_is_killed_loses_nothing(
    place: Place, worker: Worker, tmp_path: Path
) -> None:
    queue = place.queue()
    queue.push({"order": 1})
    program = worker("echo begun >> begun; exec sleep 600")
    until((tmp_path / "begun").exists)
    program.kill()
    place.end_leases(queue)

    worker("cat >> seen")

    until(lambda: queue.counts().consumed == 1)
    assert lines(tmp_path / "seen") == ['{"order": 1}']


def test_a_claim_that_was_lost_is_not_acked(place: Place, worker: Worker, tmp_path: Path) -> None:
    queue = place.queue()
    queue.push({"order": 1})
    program = worker("touch begun; until [ -e go ]; do sleep 0.05; done")
    until((tmp_path / "begun").exists)
    place.end_leases(queue)
    theirs = queue.claim()

    (tmp_path / "go").touch()

    program.wait_for("not acked")
    assert "XC001" in program.printed()
    assert theirs is not None
    queue.ack(theirs)


def test_a_supervisor_can_stop_it_between_two_messages(place: Place, worker: Worker) -> None:
    place.queue().push(1)
    program = worker("true")
    program.wait_for("acked")

    assert program.end() == 0
    assert place.queue().counts().claimed == 0


def test_a_writer_that_is_killed_leaves_neither_the_row_nor_its_message(
    place: Place, start: Start, tmp_path: Path
) -> None:
    place.run("CREATE TABLE parcel (id bigint PRIMARY KEY, address text)")
    place.run(
        "CREATE TRIGGER tell AFTER INSERT ON parcel"
        " FOR EACH ROW EXECUTE FUNCTION xclaim_push_row('parcels', 'id')"
    )
    script = tmp_path / "write.sql"
    script.write_text(
        "INSERT INTO parcel VALUES (1, 'Oslo');\nBEGIN;\nINSERT INTO parcel VALUES (2, 'Bern');\n"
        "\\echo written\nSELECT pg_sleep(600);\n"
    )
    writer = start(["psql", place.url, "--no-psqlrc", "--file", script])
    writer.wait_for("written")
    writer.kill()
    place.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%'"
        " AND pid <> pg_backend_pid()"  # it would notice when its statement ends
    )

    queue = place.queue("parcels")
    with queue.consume() as claimed:
        assert claimed is not None
        assert claimed.payload == {"id": 1, "address": "Oslo"}
    assert place.run("SELECT id FROM parcel") == [(1,)]
    assert queue.claim() is None


def jobs() -> dict[str, str]:
    """Return the statement of each job that pg_cron is given."""
    text = (EXAMPLES / "sql" / "pg_cron.sql").read_text()
    found = JOB.findall(text)
    assert len(found) == text.count("cron.schedule(")
    return dict(found)


def ripe(queue: Queue) -> None:
    """Leave in the queue what each job is for."""
    queue.push_many([1, 2, 3], max_attempts=1)
    consumed, dead, lapsed = queue.claim_many(3)
    queue.ack(consumed)
    queue.release(dead, error="the service is down")
    queue.release(lapsed, count=False)
    assert queue.claim() is not None


def test_what_pg_cron_runs_is_done_once_however_often_it_runs(place: Place) -> None:
    queue = place.queue("reports")
    ripe(queue)
    place.run(
        "UPDATE xclaim_message SET consumed_at = consumed_at - interval '31 days'"
        " WHERE status = 'consumed'"
    )
    place.run(
        "UPDATE xclaim_message SET claim_expires_at = now() - interval '1 s'"
        " WHERE status = 'claimed'"
    )

    for _ in range(2):
        for statement in jobs().values():
            place.run(statement.replace(":", "\\:"))

    counts = queue.counts()
    assert (counts.consumed, counts.claimed, counts.dead_letters) == (0, 0, 0)
    assert counts.available == 3  # the day's report, and those that were dead
