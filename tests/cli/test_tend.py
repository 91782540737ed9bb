"""`xclaim upgrade`, `downgrade`, `stats`, `expire`, `redrive`, `prune` and `demo`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli.command_line import CommandLine
from tests.later_xclaim import later_xclaim
from xclaim import Queue
from xclaim.arguments import OnFull
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
    downgraded = xclaim("downgrade", "base", "--yes")

    assert (upgraded.status, upgraded.values) == (0, [{"revision": REVISION}])
    assert pushed.status == 0
    assert (downgraded.status, downgraded.values) == (0, [{"revision": None, "dropped": 1}])
    assert migrate.current(empty_database_url) is None


def test_a_downgrade_says_what_it_would_drop_and_drops_nothing_without_yes(
    xclaim: CommandLine, queue: Queue
) -> None:
    queue.push_many([1, 2, 3])
    queue.claim()

    refused = xclaim("downgrade", "base")

    assert (refused.status, refused.stdout, len(refused.errors)) == (2, "", 1)
    assert "drops the table with 3 messages (2 available, 1 claimed)" in refused.errors[0]
    assert "--yes" in refused.errors[0]
    assert queue.counts().available == 2


def test_a_downgrade_that_drops_nothing_needs_no_yes(sqlite_xclaim: CommandLine) -> None:
    done = sqlite_xclaim("downgrade", REVISION)

    assert (done.status, done.values) == (0, [{"revision": REVISION}])


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
        "in_line": 0,
        "claimed": 1,
        "consumed": 0,
        "dead_letters": 0,
        "retrying": 0,
        "next_try_at": None,
        "head_attempts": 0,
        "paused_at": None,
        "max_backlog": None,
        "limits": None,
    }
    assert all(0 <= age < 60 for age in ages)
    assert other["queue"] == "parcels"


def test_stats_of_one_queue_are_one_line(sqlite_xclaim: CommandLine, sqlite_queue: Queue) -> None:
    sqlite_queue.push(1)

    assert [line["available"] for line in sqlite_xclaim("stats", "orders").values] == [1]
    assert [line["available"] for line in sqlite_xclaim("stats", "nobody").values] == [0]
    assert sqlite_xclaim("stats", "nobody").values[0].keys() == {
        *sqlite_xclaim("stats", "orders").values[0]
    }


def test_stats_of_an_older_schema_say_what_to_run(
    sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with later_xclaim(tmp_path), pytest.raises(SystemExit) as ending:
        main(["stats", "--quiet", "--url", sqlite_url])

    assert ending.value.code == 4
    assert f"needs 0002: run `xclaim upgrade --url {sqlite_url}`" in capsys.readouterr().err


def test_expire_gives_back_lapsed_claims(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2])
    queue.claim_many(2, lease=timedelta(0))

    expired = xclaim("expire", "orders", "--limit", "1")

    assert expired.values == [{"queue": "orders", "expired": 1}]
    assert (queue.counts().claimed, queue.counts().available + queue.counts().delayed) == (1, 1)


def test_redrive_moves_dead_letters_back_or_elsewhere(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2], max_attempts=1)
    for claim in queue.claim_many(2):
        queue.release(claim)

    back = xclaim("redrive", "orders", "--limit", "1")
    elsewhere = xclaim("redrive", "orders", "--to", "parcels")

    assert back.values == [{"queue": "orders", "redriven": 1}]
    assert elsewhere.values == [{"queue": "orders", "redriven": 1}]
    assert (queue.counts().available, queue.counts().dead_letters) == (1, 0)


def killed(queue: Queue, *errors: object) -> list[int]:
    queue.push_many([str(error) for error in errors], max_attempts=1)
    claims = queue.claim_many(len(errors))
    for claim, error in zip(claims, errors, strict=True):
        queue.release(claim, error=error)
    return [claim.message.id for claim in claims]


def test_redrive_takes_the_name_of_either_queue(xclaim: CommandLine, queue: Queue) -> None:
    killed(queue, "boom")

    done = xclaim("redrive", "orders.dead")

    assert done.values == [{"queue": "orders.dead", "redriven": 1}]
    assert (queue.counts().available, queue.counts().dead_letters) == (1, 0)


def test_redrive_chooses_by_error_and_age_and_id(xclaim: CommandLine, queue: Queue) -> None:
    _, other, third = killed(queue, TimeoutError("slow"), ValueError("service is down"), "boom")

    aged = xclaim("redrive", "orders", "--older-than", "1h")
    by_class = xclaim("redrive", "orders", "--error", "TimeoutError", "--dry-run")
    by_text = xclaim("redrive", "orders", "--error", "service is down")
    by_id = xclaim("redrive", "orders", str(third), "--rate", "1000")

    assert [done.values[0]["redriven"] for done in (aged, by_class, by_text, by_id)] == [0, 0, 1, 1]
    assert by_class.values[0]["would_redrive"] == 1
    assert {message.id for message in queue.peek(10)} == {other, third}
    assert queue.counts().dead_letters == 1


def test_an_id_that_is_no_dead_letter_is_named_and_nothing_is_redriven(
    refused: Callable[..., str], sqlite_queue: Queue
) -> None:
    (dead,) = killed(sqlite_queue, "boom")
    alive = sqlite_queue.push(1).id

    error = refused("redrive", "orders", str(dead), str(alive))

    assert f"message {alive} is no dead letter in 'orders.dead'" in error
    assert "nothing was redriven" in error


WRONG_REDRIVES = [
    (("redrive", "orders", "--rate", "0"), "rate must lie between"),
    (("redrive", "orders", "--rate", "nan"), "rate must lie between"),
    (("redrive", "orders", "--rate", "fast"), "'fast' is not a valid float"),
    (("redrive", "orders", "--error", ""), "error is empty"),
    (("redrive", "orders", "first"), "'first' is no message id"),
    (("redrive", "orders", "--to", "orders.dead"), "is a dead-letter queue"),
    (("redrive", ".dead"), "queue name is empty"),
    (("prune", "orders", "--older-than", "1d", "--every"), "--every is for --orphans"),
    (("withdraw", "orders"), "name IDs, or --unique-key"),
    (("withdraw", "orders", "1", "--unique-key", "a"), "one of them"),
    (("withdraw", "orders", "4711"), "queue 'orders' has no message 4711"),
    (("get", "orders", "-1"), "-1"),
    (("peek", "orders", "--table", "--output", "tsv"), "exclude each other"),
]


@pytest.mark.parametrize(
    ("arguments", "problem"), WRONG_REDRIVES, ids=[text for _, text in WRONG_REDRIVES]
)
def test_wrong_use_of_upkeep_is_explained_in_a_line(
    refused: Callable[..., str], arguments: tuple[str, ...], problem: str
) -> None:
    assert problem in refused(*arguments)


def test_prune_counts_without_deleting(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2, 3])
    queue.ack_many(queue.claim_many(2))

    counted = xclaim("prune", "orders", "--older-than", "0s", "--dry-run")
    few = xclaim("prune", "orders", "--older-than", "0s", "--dry-run", "--limit", "1")

    assert counted.values == [{"queue": "orders", "pruned": 0, "would_prune": 2}]
    assert few.values[0]["would_prune"] == 1
    assert queue.counts().consumed == 2


@pytest.mark.parametrize(
    "arguments",
    [
        *(("peek", "odrers"), ("stats", "odrers"), ("claim", "odrers"), ("claims", "odrers")),
        *(("expire", "odrers"), ("redrive", "odrers"), ("get", "odrers", "1")),
        *(("find", "odrers", "a"), ("prune", "odrers", "--older-than", "1d")),
        ("withdraw", "odrers", "--unique-key", "a"),
    ],
)
def test_an_unknown_queue_is_said_to_be_unknown(
    sqlite_url: str,
    arguments: tuple[str, ...],
    sqlite_queue: Queue,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sqlite_queue.push(1)

    with pytest.raises(SystemExit):
        main([*arguments, "--url", sqlite_url])

    assert "queue 'odrers' is unknown" in capsys.readouterr().err


@pytest.mark.parametrize("status", ["available", "delayed", "claimed", "consumed", "dead"])
def test_a_queue_with_any_message_is_known(
    sqlite_url: str, sqlite_queue: Queue, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    delay = timedelta(hours=1) if status == "delayed" else None
    sqlite_queue.push(1, max_attempts=1, delay=delay)
    if status in ("claimed", "consumed", "dead"):
        (claim,) = sqlite_queue.claim_many(1)
        if status == "consumed":
            sqlite_queue.ack(claim)
        elif status == "dead":
            sqlite_queue.release(claim)

    with pytest.raises(SystemExit):
        main(["find", "orders", "a", "--url", sqlite_url])

    assert "unknown" not in capsys.readouterr().err


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


NO_BACKLOG = {"max_backlog": None, "on_full": None, "waiting": None}


def queue_limits(concurrency: int | None = None) -> dict[str, int | None]:
    return {"concurrency": concurrency, "rate": None, "per": None, "burst": None}


def test_limits_of_a_queue_are_set_shown_and_ended(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many(range(5))

    given = xclaim("limits", "orders", "--concurrency", "3", "--rate", "20/15m", "--burst", "2")
    shown = xclaim("limits", "orders")
    claimed = xclaim("claim", "orders", "--limit", "5")
    stats = xclaim("stats", "orders")
    ended = xclaim("limits", "orders", "--none")

    limits = {"queue": "orders", "concurrency": 3, "rate": 20, "per": 900.0, "burst": 2}
    assert given.values == shown.values == [{**limits, **NO_BACKLOG}]
    assert len(claimed.values) == 2
    assert stats.values[0]["limits"] == "3 at once, 20 per 900 s in bursts of 2"
    nothing = {"concurrency": None, "rate": None, "per": None, "burst": None}
    assert ended.values == [{"queue": "orders", **nothing, **NO_BACKLOG}]
    assert queue.limits() is None


def test_a_limit_of_what_waits_is_set_apart_from_the_others(
    xclaim: CommandLine, queue: Queue
) -> None:
    queue.push_many(range(2))
    queue.limit(concurrency=3)

    full = xclaim("limits", "orders", "--max-backlog", "2", "--on-full", "skip")
    skipped = xclaim("push", "orders", "1")
    other = xclaim("limits", "orders", "--concurrency", "4")
    ended = xclaim("limits", "orders", "--none")

    backlog = {"max_backlog": 2, "on_full": "skip", "waiting": 2}
    assert full.values == [
        {"queue": "orders", **queue_limits(concurrency=3), **backlog},
    ]
    assert "is full: nothing was pushed" in skipped.stderr
    assert other.values == [{"queue": "orders", **queue_limits(concurrency=4), **backlog}]
    assert ended.values == [{"queue": "orders", **queue_limits(), **NO_BACKLOG}]
    assert queue.backlog().max_backlog is None


@pytest.mark.parametrize("on_full", ["raise", "wait", "skip"])
def test_another_limit_of_what_waits_leaves_what_a_push_does_then(
    xclaim: CommandLine, queue: Queue, on_full: OnFull
) -> None:
    queue.limit_backlog(max_backlog=2, on_full=on_full)

    raised = xclaim("limits", "orders", "--max-backlog", "5")

    backlog = {"max_backlog": 5, "on_full": on_full, "waiting": 0}
    assert raised.values == [{"queue": "orders", **queue_limits(), **backlog}]
    assert queue.backlog().on_full == on_full


def test_a_push_to_a_full_queue_raises_where_nothing_else_was_said(
    xclaim: CommandLine, queue: Queue
) -> None:
    queue.limit_backlog(max_backlog=2, on_full="skip")
    queue.limit_backlog(max_backlog=None)

    given = xclaim("limits", "orders", "--max-backlog", "5")

    assert given.values[0]["on_full"] == "raise"


def test_the_limits_of_dead_letters_end(xclaim: CommandLine) -> None:
    ended = xclaim("limits", "orders.dead", "--none")
    refused = xclaim("limits", "orders.dead", "--concurrency", "2", "--max-backlog", "3")

    assert ended.status == 0
    assert refused.status == 2
    assert xclaim("limits", "orders.dead").values[0]["concurrency"] is None


@pytest.mark.parametrize(
    "options",
    [
        ["--concurrency", "0"],
        ["--concurrency", "2", "--max-backlog", "0"],
        ["--concurrency", "three"],
        ["--rate", "10"],
        ["--rate", "0/s"],
        ["--rate", "10/0s"],
        ["--rate", "10/s\n"],
        ["--burst", "3"],
        ["--none", "--concurrency", "3"],
        ["--none", "--max-backlog", "3"],
        ["--max-backlog", "0"],
        ["--on-full", "wait"],
        ["--max-backlog", "1", "--on-full", "burst"],
    ],
)
def test_a_limit_that_is_none_is_wrong_use(
    xclaim: CommandLine, queue: Queue, options: list[str]
) -> None:
    assert xclaim("limits", "orders", *options).status == 2
    assert queue.limits() is None


def test_pause_and_unpause_a_queue(xclaim: CommandLine, queue: Queue) -> None:
    queue.push(1)

    paused = xclaim("pause", "orders", "--reason", "the mill is on fire")
    claimed = xclaim("claim", "orders")
    unpaused = xclaim("unpause", "orders")
    again = xclaim("unpause", "orders")

    assert (paused.status, claimed.status, unpaused.status, again.status) == (0, 1, 0, 0)
    (said,) = paused.values
    assert (said["queue"], said["reason"]) == ("orders", "the mill is on fire")
    assert f"paused since {said['paused_at'][:10]}" in paused.stderr
    assert "the mill is on fire" in paused.stderr
    assert unpaused.values == [{"queue": "orders", "was_paused": True}]
    assert again.values == [{"queue": "orders", "was_paused": False}]
    assert queue.claim() is not None


def test_pause_says_that_a_queue_is_unknown(sqlite_xclaim: CommandLine) -> None:
    paused = sqlite_xclaim("pause", "oders")

    assert paused.status == 0
    assert "queue 'oders' is unknown" in paused.stderr


def test_stats_show_since_when_a_queue_is_paused(xclaim: CommandLine, queue: Queue) -> None:
    queue.push(1)
    paused_at = queue.pause().paused_at

    of_all = xclaim("stats").values
    of_one = xclaim("stats", "orders", "--table")
    queue.unpause()

    assert [(line["queue"], line["paused_at"]) for line in of_all] == [
        ("orders", paused_at.isoformat())
    ]
    assert "paused" in of_one.stdout
    assert xclaim("stats", "orders").values[0]["paused_at"] is None


def test_stats_show_a_paused_queue_that_has_no_message(
    xclaim: CommandLine, queue: Queue, database_url: str
) -> None:
    queue.push(1)
    with Queue("invoices", database_url) as empty, Queue("orders.dead", database_url) as letters:
        empty.pause()
        letters.pause()

    lines = xclaim("stats").values

    assert [line["queue"] for line in lines] == ["invoices", "orders"]
    assert lines[0]["available"] == 0
    assert lines[0]["paused_at"] is not None
    assert lines[1]["paused_at"] is None
