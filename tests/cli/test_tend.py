"""`xclaim upgrade`, `downgrade`, `peek`, `stats`, `expire`, `redrive`, `prune` and `demo`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli.command_line import CommandLine
from tests.later_xclaim import later_xclaim
from xclaim import Queue
from xclaim.cli import main
from xclaim.operations import migrate
from xclaim.sql.schema import REVISION

AGES = ("oldest_available_age", "oldest_claim_age")


def test_upgrade_creates_the_table_and_downgrade_drops_it(
    nowhere: CommandLine, empty_database_url: str
) -> None:
    xclaim = nowhere.at(empty_database_url)

    upgraded = xclaim("upgrade")
    pushed = xclaim("push", "orders", "1")
    downgraded = xclaim("downgrade", "base")

    assert (upgraded.status, upgraded.values) == (0, [{"revision": REVISION}])
    assert pushed.status == 0
    assert (downgraded.status, downgraded.values) == (0, [{"revision": None}])
    assert migrate.current(empty_database_url) is None


def test_upgrade_stops_at_a_revision(nowhere: CommandLine, empty_sqlite_url: str) -> None:
    upgraded = nowhere("upgrade", "0001", "--url", empty_sqlite_url)

    assert upgraded.values == [{"revision": "0001"}]


def test_an_unknown_revision_is_wrong_use(refused: Callable[..., str]) -> None:
    assert "use head, base, or one of" in refused("upgrade", "9999")


def test_peek_prints_what_would_be_claimed_and_claims_nothing(
    xclaim: CommandLine, queue: Queue
) -> None:
    queue.push_many([1, 2, 3])

    peeked = xclaim("peek", "orders", "--limit", "2")

    assert peeked.values == [message.to_dict() for message in queue.peek(2)]
    assert queue.counts().available == 3


def test_stats_count_every_queue_by_state(
    xclaim: CommandLine, queue: Queue, database_url: str
) -> None:
    queue.push_many([1, 2, 3])
    queue.push(4, delay=timedelta(hours=1))
    queue.claim()
    with Queue("parcels", database_url) as parcels:
        parcels.push(5)

    orders, other = xclaim("stats").values

    ages = [orders.pop(name) for name in AGES]
    assert orders == {
        "queue": "orders",
        "available": 2,
        "delayed": 1,
        "claimed": 1,
        "consumed": 0,
        "dead_letters": 0,
    }
    assert all(0 <= age < 60 for age in ages)
    assert other["queue"] == "parcels"


def test_stats_of_one_queue_are_one_line(sqlite_xclaim: CommandLine, sqlite_queue: Queue) -> None:
    sqlite_queue.push(1)

    assert [line["available"] for line in sqlite_xclaim("stats", "orders").values] == [1]
    assert [line["available"] for line in sqlite_xclaim("stats", "nobody").values] == [0]


def test_stats_of_an_older_schema_say_what_to_run(
    sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with later_xclaim(tmp_path), pytest.raises(SystemExit) as ending:
        main(["stats", "--quiet", "--url", sqlite_url])

    assert ending.value.code == 4
    assert "needs 0002: run `xclaim upgrade`" in capsys.readouterr().err


def test_expire_gives_back_lapsed_claims(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2])
    queue.claim_many(2, lease=timedelta(0))

    expired = xclaim("expire", "orders", "--limit", "1")

    assert expired.values == [{"queue": "orders", "expired": 1}]
    assert queue.counts().available == 1


def test_redrive_moves_dead_letters_back_or_elsewhere(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2], max_attempts=1)
    for claim in queue.claim_many(2):
        queue.release(claim)

    back = xclaim("redrive", "orders", "--limit", "1")
    elsewhere = xclaim("redrive", "orders", "--to", "parcels")

    assert back.values == [{"queue": "orders", "redriven": 1}]
    assert elsewhere.values == [{"queue": "orders", "redriven": 1}]
    assert (queue.counts().available, queue.counts().dead_letters) == (1, 0)


def test_prune_deletes_what_was_consumed_and_nothing_else(
    xclaim: CommandLine, queue: Queue
) -> None:
    queue.push_many([1, 2])
    queue.ack_many(queue.claim_many(1))

    kept = xclaim("prune", "orders", "--older-than", "30d")
    pruned = xclaim("prune", "orders", "--older-than", "0s", "--limit", "10")

    assert kept.values == [{"queue": "orders", "pruned": 0}]
    assert pruned.values == [{"queue": "orders", "pruned": 1}]
    assert (queue.counts().consumed, queue.counts().available) == (0, 1)


def test_prune_asks_how_old(refused: Callable[..., str]) -> None:
    assert "--older-than" in refused("prune", "orders")


@pytest.mark.parametrize("command", ["claim", "peek", "stats", "push"])
def test_a_table_is_drawn_for_people(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue, command: str
) -> None:
    sqlite_queue.push({"id": 1})
    payload = ["2"] if command == "push" else []

    shown = sqlite_xclaim(command, "orders", *payload, "--table")

    assert shown.status == 0
    assert "orders" in shown.stdout
    assert "───" in shown.stdout


def test_a_payload_cannot_steer_the_terminal(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_queue.push("\x1b[31m\x9b31m [bold]red")

    shown = sqlite_xclaim("peek", "orders", "--table")

    assert "\x1b" not in shown.stdout
    assert "\x9b" not in shown.stdout


def test_the_demo_ends_with_each_payload_consumed_once(nowhere: CommandLine) -> None:
    shown = nowhere.shell("XCLAIM_SCHEMA=shop $xclaim demo")

    assert shown.status == 0
    assert "killed worker-0" in shown.stdout
    assert shown.stdout.endswith("100 acks: all 100 payloads were consumed exactly once\n")
    assert list(nowhere.folder.iterdir()) == []


def test_the_demo_keeps_to_a_queue_of_its_own(
    nowhere: CommandLine, fresh_postgresql_url: str
) -> None:
    shown = nowhere("demo", "--url", fresh_postgresql_url)

    (line,) = nowhere("stats", "--url", fresh_postgresql_url).values
    assert shown.status == 0
    assert line["queue"].startswith("demo-")
    assert line["queue"] in shown.stdout
    assert line["consumed"] == 100
