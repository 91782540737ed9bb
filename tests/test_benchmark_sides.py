"""What the sides of the benchmarks do is what is measured: real processes, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import make_url

from benchmarks import against, concurrency, steady, task_start
from benchmarks.measuring import WrongResultError
from benchmarks.server import query
from benchmarks.sides import airflow_task
from benchmarks.sides.checkout import NOW, ROOT, earlier
from benchmarks.sides.laps import ASYNC_QUEUE, LAPS, QUEUE, Lap
from benchmarks.sides.process import Side, SideFailedError, one_side
from tests.eventually import until
from xclaim import Queue

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def side() -> Iterator[Side]:
    with one_side("benchmarks.sides.worker", ROOT / "src", NOW) as side:
        yield side


@pytest.mark.parametrize(
    ("facade", "lap"), [(facade, lap) for lap in LAPS for facade in lap.facades]
)
def test_a_lap_consumes_all_it_pushed(
    side: Side, empty_database_url: str, facade: str, lap: Lap
) -> None:
    side.ask(act="open", facade=facade, lap=lap.name, url=empty_database_url)

    taken = [side.ask(act="run", part=part) for _ in range(2) for part in ("push", "consume")]

    assert all(seconds > 0 for each in taken for seconds in each)
    side.ask(act="close")
    with Queue("orders", empty_database_url) as queue:
        assert queue.counts().consumed == 2 * lap.messages


@pytest.mark.parametrize("facade", [QUEUE, ASYNC_QUEUE])
def test_a_lap_that_misses_a_message_fails(side: Side, empty_sqlite_url: str, facade: str) -> None:
    side.ask(act="open", facade=facade, lap="one_by_one", url=empty_sqlite_url)
    side.ask(act="run", part="push")
    with Queue("orders", empty_sqlite_url) as queue:
        queue.claim()

    with pytest.raises(SideFailedError, match="now: NotConsumedError: 49 of 50 messages"):
        side.ask(act="run", part="consume")
    with pytest.raises(SideFailedError, match="claimed=1"):
        side.ask(act="close")


@pytest.mark.parametrize("facade", [QUEUE, ASYNC_QUEUE])
def test_a_crowd_consumes_each_message_once(empty_postgresql_url: str, facade: str) -> None:
    with one_side("benchmarks.sides.crowds", ROOT / "src", NOW) as crowd:
        crowd.ask(act="fill", url=empty_postgresql_url, count=300)

        figures = crowd.ask(
            act="work", facade=facade, url=empty_postgresql_url, workers=7, seconds=0.2
        )

        consumed = figures["consumed"]
        assert len(consumed) == len(set(consumed)) > 0
        crowd.ask(act="check", url=empty_postgresql_url, count=300, consumed=consumed)
        with pytest.raises(SideFailedError, match="NotConsumedError"):
            crowd.ask(act="check", url=empty_postgresql_url, count=300, consumed=consumed[1:])


@pytest.fixture(scope="module")
def replica() -> Iterator[Side]:
    with one_side("benchmarks.sides.steady", ROOT / "src", NOW) as side:
        yield side


@pytest.mark.parametrize("facade", [QUEUE, ASYNC_QUEUE])
def test_workers_that_wait_consume_what_is_pushed_until_they_are_stopped(
    replica: Side, empty_postgresql_url: str, tmp_path: Path, facade: str
) -> None:
    stop = tmp_path / "stop"
    replica.ask(act="prepare", url=empty_postgresql_url)
    order = {"facade": facade, "url": empty_postgresql_url, "workers": 2, "stop": str(stop)}

    with Queue("orders", empty_postgresql_url) as queue, ThreadPoolExecutor(1) as pool:
        working = pool.submit(lambda: replica.ask(act="work", **order))
        for number in range(5):
            queue.push({"n": number, "at": time.time()})
        stop.touch()
        result = working.result()

    assert sorted(number for number, _ in result["consumed"]) == [0, 1, 2, 3, 4]
    assert all(seconds > 0 for _, seconds in result["consumed"])


@pytest.fixture
def address(empty_postgresql_url: str) -> str:
    """The URL of the database as psycopg takes it."""
    url = make_url(empty_postgresql_url).set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def test_a_worker_outlives_more_lapsed_claims_than_one_sweep_gives_back(
    replica: Side, empty_postgresql_url: str, address: str
) -> None:
    replica.ask(act="prepare", url=empty_postgresql_url)
    replica.ask(act="lapse", url=empty_postgresql_url, count=250)
    query(address, steady._LAPSE)

    seconds = replica.ask(act="outlive", url=empty_postgresql_url, claims=250)["seconds"]

    assert len(seconds) == 250


def test_readers_that_come_and_go_have_a_snapshot_at_any_time(address: str) -> None:
    def snapshots() -> int:
        return int(str(query(address, _SNAPSHOTS)[0]))

    with steady._readers(address):
        until(lambda: snapshots() == len(steady._READERS))

    assert snapshots() == 0


_SNAPSHOTS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL
   AND backend_type = 'client backend'
"""


def test_a_side_says_what_went_wrong(side: Side) -> None:
    with pytest.raises(SideFailedError, match="now: KeyError: 'unknown'"):
        side.ask(act="unknown")


def test_a_side_that_has_ended_says_so() -> None:
    with one_side("benchmarks.sides.worker", ROOT / "src", NOW) as side:
        pass

    with pytest.raises(SideFailedError, match="now: the process has ended with 0"):
        side.ask(act="close")


def test_the_sources_of_a_commit_are_taken_with_its_migrations() -> None:
    with earlier("HEAD") as source:
        assert (source / "xclaim" / "__init__.py").is_file()
        assert list((source.parent / "migrations" / "versions").glob("*.py"))


def test_a_commit_that_is_unknown_is_refused() -> None:
    with pytest.raises(SystemExit, match="no commit 'never'"), earlier("never"):
        pass


def test_a_lap_is_shown_with_the_ratio_of_its_rounds() -> None:
    course = against.Course(database="sqlite", facade=QUEUE, lap=LAPS[0])
    for now, before in ((1.0, 2.0), (2.0, 3.0), (3.0, 3.0)):
        course.rounds.append(
            {
                side: dict.fromkeys(("push", "consume"), (seconds, seconds))
                for side, seconds in (("now", now), ("before", before))
            }
        )

    (row,) = against.rows(course, ["claim_ack"])

    assert (row["rate"]["median"], row["rate"]["least"], row["rate"]["most"]) == (1.5, 1, 2)
    assert row["processor"]["median"] == pytest.approx(2 / 3, abs=1e-4)
    assert (
        "| sqlite | Queue | claim_ack | 17 | 25 | 1.50 (1.00-2.00)"
        in list(against.table([row]))[-1]
    )


def test_a_lap_that_failed_is_shown_as_failed() -> None:
    course = against.Course(database="sqlite", facade=QUEUE, lap=LAPS[0], error="now: lost one")

    shown = list(against.table(list(against.rows(course, ["push_one", "claim_ack"]))))

    assert [line.endswith("**failed**: now: lost one |") for line in shown] == [0, 0, 1, 1]


def test_connections_are_counted_in_the_log_of_the_server(tmp_path: Path) -> None:
    log = tmp_path / "postgresql.log"
    line = "{at} {database} LOG:  connection authorized: user=postgres database={database}\n"
    log.write_text(
        "".join(
            line.format(at=at, database=database)
            for at, database in ((9.5, "mine"), (10.5, "mine"), (11.5, "other"), (12.5, "mine"))
        )
    )

    assert concurrency.connections(log, "mine", since=10) == 2


def test_a_task_that_has_not_got_its_message_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "task.log").write_text("why it failed")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv(airflow_task.ARRIVALS, str(tmp_path / "arrivals"))
    airflow_task.arrived()  # at its first line, and then no more
    contender = task_start.Contender(task_id=task_start.PUSH_AND_CLAIM, source=ROOT / "src")

    with pytest.raises(WrongResultError, match="arrived 1 times:\nwhy it failed"):
        task_start._start(contender, (0, 0))


def test_a_task_with_another_message_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(airflow_task.ARRIVALS, str(tmp_path / "arrivals"))
    airflow_task.arrived(is_right=False)
    contender = task_start.Contender(task_id=task_start.EXCLUSIVE, source=ROOT / "src")

    with pytest.raises(WrongResultError, match="is_right"):
        task_start._start(contender, (0, 0))
