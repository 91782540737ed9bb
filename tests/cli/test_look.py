"""`xclaim peek`, `stats`, `get`, `find` and `claims`, and what settles by id."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from tests.cli.command_line import CommandLine
from tests.times import available_at
from xclaim import Claim, Message, Queue
from xclaim.cli import main
from xclaim.operations import by_hand


def fail(queue: Queue, error: object) -> Message:
    """Push a message, fail its first attempt, and return it as it rests."""
    queue.push("fragile")
    (claim,) = queue.claim_many(1)
    return queue.release(claim, error=error, delay=timedelta(hours=1))


def test_peek_shows_what_failed_with_its_next_try_and_error(
    xclaim: CommandLine, queue: Queue
) -> None:
    message = fail(queue, ValueError("no such item"))

    failing = xclaim("peek", "orders", "--failing")
    plain = xclaim("peek", "orders")

    assert failing.values == [message.to_dict()]
    assert failing.values[0]["last_error"] == "ValueError: no such item"
    assert plain.values == []
    assert "`xclaim peek orders --failing` shows them" in plain.stderr


def test_peek_of_a_dead_letter_queue_shows_why(sqlite_xclaim: CommandLine, sqlite_url: str) -> None:
    with Queue("orders", sqlite_url) as queue:
        queue.push(1, max_attempts=1)
        queue.release(queue.claim_many(1)[0], error="no such item")

    shown = sqlite_xclaim("peek", "orders.dead", "--table")

    assert "no such item" in shown.stdout


def test_stats_show_what_is_tried_again_and_a_head_that_is(
    xclaim: CommandLine, queue: Queue
) -> None:
    message = fail(queue, "boom")
    queue.push("released", priority=1)
    (claim,) = queue.claim_many(1)
    queue.release(claim)  # it counts, and keeps its place

    (stats,) = xclaim("stats", "orders").values

    assert (stats["available"], stats["delayed"], stats["retrying"]) == (1, 1, 2)
    assert stats["next_try_at"] == available_at(claim.message).isoformat()
    assert stats["next_try_at"] < available_at(message).isoformat()
    assert stats["head_attempts"] == 1


def test_stats_count_what_failed_by_error(xclaim: CommandLine, queue: Queue) -> None:
    resting = fail(queue, ValueError("secret"))
    queue.push(1, max_attempts=1)
    queue.release(queue.claim_many(1)[0], error=TimeoutError())

    failing, dead = xclaim("stats", "orders", "--errors").values
    shown = xclaim("stats", "--errors", "--table").stdout

    assert failing == {
        "queue": "orders",
        "state": "failing",
        "error_class": "ValueError",
        "messages": 1,
        "attempts": 1,
        "next_try_at": available_at(resting).isoformat(),
    }
    assert (dead["queue"], dead["error_class"], dead["messages"]) == (
        "orders.dead",
        "TimeoutError",
        1,
    )
    assert "secret" not in shown


def test_get_prints_a_message_whatever_its_status(xclaim: CommandLine, queue: Queue) -> None:
    first, second = queue.push_many([1, 2])
    queue.ack_many(queue.claim_many(1))

    got = xclaim("get", "orders", str(first.id), str(second.id))

    assert got.status == 0
    assert [value["status"] for value in got.values] == ["consumed", "available"]


def test_get_says_what_is_not_there(sqlite_xclaim: CommandLine, sqlite_queue: Queue) -> None:
    message = sqlite_queue.push(1)

    got = sqlite_xclaim("get", "orders", str(message.id), "4711")

    assert (got.status, [value["id"] for value in got.values]) == (1, [message.id])
    assert got.errors == ["queue 'orders' has no message 4711"]


def test_failures_are_the_attempts_with_their_errors(xclaim: CommandLine, queue: Queue) -> None:
    message = queue.push("fragile")
    for error in (ValueError("no such item"), "given back"):
        (claim,) = queue.claim_many(1, claimed_by="worker")
        queue.release(claim, error=error, delay=timedelta(0))

    shown = xclaim("failures", "orders", str(message.id))

    assert shown.status == 0
    assert [
        (each["attempt"], each["claimed_by"], each["error_class"], each["error"])
        for each in shown.values
    ] == [
        (1, "worker", "ValueError", "ValueError: no such item"),
        (2, "worker", None, "given back"),
    ]


def test_failures_of_a_message_that_is_not_there_say_so(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    message = sqlite_queue.push(1)

    without = sqlite_xclaim("failures", "orders", str(message.id))
    missing = sqlite_xclaim("failures", "orders", "4711")

    assert (without.status, without.values) == (0, [])
    assert (missing.status, missing.errors) == (1, ["queue 'orders' has no message 4711"])


def test_find_prints_messages_by_their_keys(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2], unique_keys=["one", "two"])

    found = xclaim("find", "orders", "two", "three")

    assert (found.status, [value["payload"] for value in found.values]) == (1, [2])
    assert found.errors == ["queue 'orders' has no message under 'three'"]


def test_claims_say_who_holds_what_and_show_no_token(
    xclaim: CommandLine, queue: Queue, database_url: str
) -> None:
    queue.push_many(["secret", 2])
    queue.claim(claimed_by="lapsed", lease=timedelta(0))
    queue.claim(claimed_by="busy")
    with Queue("parcels", database_url) as parcels:
        parcels.push(3)
        parcels.claim(claimed_by="elsewhere")

    here, everywhere = xclaim("claims", "orders"), xclaim("claims")

    assert [value["claimed_by"] for value in here.values] == ["lapsed", "busy"]
    assert [value["is_lapsed"] for value in here.values] == [True, False]
    assert [value["claimed_by"] for value in everywhere.values] == ["lapsed", "busy", "elsewhere"]
    assert "token" not in here.stdout
    assert "secret" not in here.stdout


def test_an_operator_acks_by_id_and_is_logged(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(2, claimed_by="stuck")
    ids = [str(claim.message.id) for claim in claims]

    acked = xclaim("ack", "orders", *ids)

    assert acked.status == 0
    assert [value["held_by"] for value in acked.values] == ["stuck", "stuck"]
    assert queue.counts().consumed == 2
    assert len(acked.errors) == 2
    operator = f"operator {getpass.getuser()}@{socket.gethostname()}"
    assert acked.errors[0].startswith(f"{operator} acked message {ids[0]} in 'orders'")
    assert "which 'stuck' held" in acked.errors[0]


def test_an_operator_releases_by_id(xclaim: CommandLine, queue: Queue) -> None:
    message = queue.push(1)
    queue.claim(claimed_by="stuck")

    released = xclaim("release", "orders", str(message.id), "--error", "its worker hangs")

    (failing,) = queue.failing()
    assert released.status == 0
    assert released.values == [{**failing.to_dict(), "held_by": "stuck"}]
    assert failing.last_error == "its worker hangs"
    assert "released message" in released.errors[-1]


def test_a_claim_of_a_dead_letter_is_settled_by_its_id(xclaim: CommandLine, queue: Queue) -> None:
    message = queue.push(1, max_attempts=1)
    queue.release(queue.claim_many(1)[0])
    assert isinstance(queue.get(message.id), Message)
    dead = xclaim("claim", "orders.dead")

    acked = xclaim("ack", "orders", str(message.id))

    assert (dead.status, acked.status) == (0, 0)
    assert acked.values[0]["queue"] == "orders.dead"


@pytest.mark.parametrize("command", ["ack", "release"])
@pytest.mark.parametrize("state", ["available", "consumed", "missing"])
def test_what_nobody_holds_is_not_settled_by_id_and_nothing_else_is(
    refused: Callable[..., str], sqlite_queue: Queue, command: str, state: str
) -> None:
    sqlite_queue.push_many([1, 2])
    held, *_ = sqlite_queue.claim_many(2)
    other = sqlite_queue.push(3).id if state == "available" else 4711
    if state == "consumed":
        (other,) = (message.id for message in sqlite_queue.push_many([4]))
        sqlite_queue.ack(sqlite_queue.claim_many(1)[0])

    error = refused(command, "orders", str(held.message.id), str(other))

    assert str(other) in error
    assert {"available": "nobody holds it", "consumed": "was consumed by"}.get(state, "") in error


@pytest.mark.usefixtures("refused")
def test_a_claim_that_changed_hands_is_not_settled_by_id(
    sqlite_queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = sqlite_queue.push(1)
    sqlite_queue.claim(claimed_by="first")
    read = by_hand.receipt

    def read_and_lose(engine: Engine, queue: str, message_id: int, **options: str | None) -> Claim:
        claim = read(engine, queue, message_id, **options)
        sqlite_queue.release(claim)
        sqlite_queue.claim(claimed_by="second")
        return claim

    monkeypatch.setattr(by_hand, "receipt", read_and_lose)

    with pytest.raises(SystemExit) as ending:
        main(["ack", "orders", str(message.id), "--quiet"])

    captured = capsys.readouterr()
    assert (ending.value.code, captured.out) == (3, "")
    assert f"message {message.id} in 'orders' changed hands: 'first' held it" in captured.err
    assert sqlite_queue.counts().claimed == 1


def test_an_operator_withdraws_by_id_or_key(xclaim: CommandLine, queue: Queue) -> None:
    first, _ = queue.push_many([1, 2], unique_keys=["one", "two"])

    by_id = xclaim("withdraw", "orders", str(first.id))
    by_key = xclaim("withdraw", "orders", "--unique-key", "two")

    assert by_id.values == by_key.values == [{"queue": "orders", "withdrawn": 1}]
    assert "withdrew 1 from 'orders'" in by_id.errors[0]
    assert queue.counts().available == 0


def test_what_is_claimed_is_not_withdrawn_nor_anything_with_it(
    refused: Callable[..., str], sqlite_queue: Queue
) -> None:
    first, second = sqlite_queue.push_many([1, 2])
    sqlite_queue.claim(claimed_by="busy")

    error = refused("withdraw", "orders", str(first.id), str(second.id))

    assert error == (f"message {first.id} in 'orders' is claimed by 'busy': nothing was withdrawn")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("command", [("peek", "orders"), ("stats",), ("claims",), ("doctor",)])
def test_a_table_fits_any_width_and_cuts_neither_names_nor_numbers(
    sqlite_queue: Queue,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    command: tuple[str, ...],
) -> None:
    sqlite_queue.push_many([{"text": "word " * 50}] * 1_234)
    sqlite_queue.claim(claimed_by="worker-123456789")
    monkeypatch.setenv("COLUMNS", str(width))

    with pytest.raises(SystemExit):
        main([*command, "--table", "--url", sqlite_url])

    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    wanted = {"peek": "orders", "stats": "1233", "claims": "worker-123456789"}
    assert wanted.get(command[0], "schema_version") in shown


def test_numbers_stand_to_the_right(sqlite_xclaim: CommandLine, sqlite_queue: Queue) -> None:
    sqlite_queue.push_many(list(range(12)))

    shown = sqlite_xclaim.shell("COLUMNS=100 $xclaim peek orders --limit 12 --table").stdout

    lines = shown.splitlines()

    assert lines[0].startswith("id  queue")
    assert (lines[2][:4], lines[13][:4]) == (" 1  ", "12  ")


def test_tsv_has_a_line_of_names_and_no_loose_tabs(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_queue.push({"a": "tab\there\n"})
    fail(sqlite_queue, "one\ttwo\\three\nfour")

    peeked = sqlite_xclaim("peek", "orders", "--output", "tsv").stdout.splitlines()
    stats = sqlite_xclaim("stats", "--output", "tsv").stdout.splitlines()

    names, row = (line.split("\t") for line in peeked)
    shown = dict(zip(names, row, strict=True))
    assert (shown["id"], shown["queue"]) == ("2", "orders")
    assert json.loads(shown["payload"]) == "fragile"
    assert len(stats) == 2
    assert len(stats[0].split("\t")) == len(stats[1].split("\t"))


def test_a_dead_letter_queue_is_counted_with_its_queue(xclaim: CommandLine, queue: Queue) -> None:
    queue.push(1, max_attempts=1)
    queue.release(queue.claim_many(1)[0], error="boom")

    (counted,) = xclaim("stats", "orders.dead").values

    assert (counted["queue"], counted["dead_letters"]) == ("orders", 1)
