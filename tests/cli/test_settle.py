"""`xclaim claim`, `ack`, `release` and `extend`: claims travel as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.cli.command_line import CommandLine
from xclaim import Claim, Queue, create_engine


def line_of(claim: Claim | None) -> str:
    assert claim is not None
    return json.dumps(claim.to_dict()) + "\n"


def test_a_claim_is_printed_as_a_line(xclaim: CommandLine, queue: Queue) -> None:
    queue.push({"id": 1})

    claimed = xclaim("claim", "orders", "--claimed-by", "me", "--lease", "2h")

    claim = Claim.from_dict(claimed.values[0])
    assert claimed.status == 0
    assert (claim.payload, claim.claimed_by) == ({"id": 1}, "me")
    assert claim.message.claimed_at is not None
    assert claim.expires_at - claim.message.claimed_at == timedelta(hours=2)


def test_claim_takes_up_to_its_limit_in_order(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_queue.push_many([1, 2, 3])

    claimed = sqlite_xclaim("claim", "orders", "--limit", "2")

    assert [value["message"]["payload"] for value in claimed.values] == [1, 2]


def test_claim_waits_for_what_another_command_pushes(xclaim: CommandLine, queue: Queue) -> None:
    both = xclaim.shell(
        "$xclaim claim orders --wait 30s & $xclaim push orders 7 --notify >/dev/null; wait"
    )

    assert [value["message"]["payload"] for value in both.values] == [7]
    assert queue.counts().claimed == 1


def test_claim_waits_no_longer_than_it_is_told(sqlite_xclaim: CommandLine) -> None:
    claimed = sqlite_xclaim("claim", "orders", "--wait", "100ms")

    assert (claimed.status, claimed.stdout) == (1, "")


def test_nothing_to_claim_is_status_1_and_silence(sqlite_xclaim: CommandLine) -> None:
    claimed = sqlite_xclaim("claim", "orders", "--quiet")

    assert (claimed.status, claimed.stdout, claimed.stderr) == (1, "", "")


def test_a_claim_key_takes_back_what_its_earlier_attempt_held(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_queue.push(1)
    sqlite_queue.claim(claimed_by="try 1", claim_key="task")

    resumed = sqlite_xclaim("claim", "orders", "--claimed-by", "try 2", "--claim-key", "task")

    assert [value["message"]["attempts"] for value in resumed.values] == [2]


def test_claim_pipes_into_ack(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2, 3])

    acked = xclaim.shell("$xclaim claim orders --limit 2 | $xclaim ack")

    assert acked.status == 0
    assert [value["status"] for value in acked.values] == ["consumed", "consumed"]
    assert queue.counts().consumed == 2


def claimed_after(xclaim: CommandLine, queue: Queue, reader: str, output: str = "") -> int:
    queue.push_many([1, 2, 3])

    xclaim.shell(f"$xclaim claim orders --limit 3 --quiet {output} | {reader} >/dev/null")

    return queue.counts().claimed


def test_what_nobody_reads_of_a_claim_is_given_back(xclaim: CommandLine, queue: Queue) -> None:
    assert claimed_after(xclaim, queue, "true") == 0
    assert [message.attempts for message in queue.peek(10)] == [0, 0, 0]


def test_what_was_read_of_a_claim_stays_claimed(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    assert claimed_after(sqlite_xclaim, sqlite_queue, "head -1") == 1


def test_a_table_of_claims_that_nobody_reads_gives_them_back(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    assert claimed_after(sqlite_xclaim, sqlite_queue, "true", "--table") == 0


def test_a_reader_that_reads_nothing_delays_a_claim_by_a_second_at_most(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    assert claimed_after(sqlite_xclaim, sqlite_queue, "{ sleep 3; cat; }") == 3


@pytest.mark.parametrize("device", ["/dev/full", "closed"])
def test_claims_that_cannot_be_printed_are_given_back(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue, device: str
) -> None:
    sqlite_queue.push(1)
    to = "&-" if device == "closed" else device

    done = sqlite_xclaim.shell(f"$xclaim claim orders --quiet >{to}")

    assert done.status == 74
    assert len(done.errors) == 1
    assert sqlite_queue.counts().available == 1


@pytest.mark.parametrize("command", ["claim", "peek"])
def test_what_cannot_be_read_is_said_on_stderr(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue, sqlite_url: str, command: str
) -> None:
    message = sqlite_queue.push(1)
    engine = create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE xclaim_message SET payload = '{'")
    engine.dispose()

    done = sqlite_xclaim(command, "orders")

    assert done.status == 0
    (line,) = done.errors
    assert line.startswith(f"message {message.id} in 'orders': payload cannot be read")


def test_acking_no_lines_does_nothing(sqlite_xclaim: CommandLine) -> None:
    acked = sqlite_xclaim("ack", stdin="\n")

    assert (acked.status, acked.stdout, acked.errors) == (0, "", [])


def test_a_claim_may_be_an_argument(sqlite_xclaim: CommandLine, sqlite_queue: Queue) -> None:
    sqlite_queue.push(1)

    acked = sqlite_xclaim("ack", line_of(sqlite_queue.claim()))

    assert acked.status == 0
    assert sqlite_queue.counts().consumed == 1


def test_of_several_acks_the_lost_ones_are_named_and_the_others_done(
    xclaim: CommandLine, queue: Queue
) -> None:
    queue.push_many([1, 2, 3])
    claims = queue.claim_many(3)
    queue.release(claims[1])

    acked = xclaim("ack", stdin="".join(map(line_of, claims)))

    ids = [claim.message.id for claim in claims]
    assert acked.status == 3
    assert [value["id"] for value in acked.values] == [ids[0], ids[2]]
    assert len(acked.errors) == 1
    assert acked.errors[0].startswith(f"error: claim lost on message {ids[1]} in 'orders'")
    assert (queue.counts().consumed, queue.counts().available) == (2, 1)


def test_claims_of_several_queues_are_acked_together(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue, sqlite_url: str
) -> None:
    with Queue("parcels", sqlite_url) as parcels:
        sqlite_queue.push(1)
        parcels.push(2)
        lines = line_of(sqlite_queue.claim()) + line_of(parcels.claim())

        acked = sqlite_xclaim("ack", stdin=lines)

        assert acked.status == 0
        assert (sqlite_queue.counts().consumed, parcels.counts().consumed) == (1, 1)


@pytest.mark.parametrize("command", ["ack", "release", "extend"])
def test_a_lost_claim_is_status_3_and_changes_nothing(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue, command: str
) -> None:
    sqlite_queue.push(1)
    claim = sqlite_queue.claim()
    assert claim is not None
    sqlite_queue.ack(claim)

    settled = sqlite_xclaim(command, line_of(claim))

    assert settled.status == 3
    assert settled.stdout == ""
    assert len(settled.errors) == 1
    assert sqlite_queue.counts().consumed == 1


def test_a_released_message_comes_back_with_its_error(xclaim: CommandLine, queue: Queue) -> None:
    queue.push(1)

    released = xclaim("release", "--error", "service is down", stdin=line_of(queue.claim()))

    (message,) = queue.failing()
    assert released.status == 0
    assert released.values == [message.to_dict()]
    assert (message.last_error, message.attempts) == ("service is down", 1)


def test_a_release_may_delay_and_not_count(sqlite_xclaim: CommandLine, sqlite_queue: Queue) -> None:
    sqlite_queue.push(1)

    released = sqlite_xclaim(
        "release", "--delay", "1h", "--no-count", line_of(sqlite_queue.claim())
    )

    assert released.values[0]["attempts"] == 0
    assert sqlite_queue.counts().delayed == 1


def test_an_extended_claim_is_printed_with_its_new_end(xclaim: CommandLine, queue: Queue) -> None:
    queue.push(1)
    claim = queue.claim()
    assert claim is not None

    extended = xclaim("extend", "--lease", "2h", stdin=line_of(claim))

    prolonged = Claim.from_dict(extended.values[0])
    assert prolonged.token == claim.token
    assert prolonged.expires_at - claim.expires_at > timedelta(minutes=110)


@pytest.mark.parametrize("command", ["ack", "release", "extend"])
@pytest.mark.parametrize("line", ["{}", "1", "nope", '{"message": {}, "token": "a"}'])
def test_a_line_that_is_no_claim_is_named_and_nothing_settled(
    refused: Callable[..., str], sqlite_queue: Queue, command: str, line: str
) -> None:
    sqlite_queue.push(1)
    stdin = line_of(sqlite_queue.claim()) + line

    error = refused(command, stdin=stdin.encode())

    assert error.startswith("line 2 is not")
    assert sqlite_queue.counts().claimed == 1


WRONG_USE = [
    (("claim", "orders", "--limit", "0"), "limit must lie between 1 and"),
    (("claim", "orders", "--limit", "-1"), "limit must lie between 1 and"),
    (("claim", "orders", "--limit", "ten"), "'ten' is not a valid integer"),
    (("claim", "orders", "--lease", "-5m"), "is no duration"),
    (("claim", "orders", "--claimed-by", ""), "claimed_by is empty"),
    (("claim", ""), "queue name is empty"),
    (("claim",), "Missing argument 'QUEUE'"),
    (("ack", "{}"), "CLAIM is not a claim"),
    (("release", "--delay", "soon", "{}"), "is no duration"),
]


@pytest.mark.parametrize(("arguments", "problem"), WRONG_USE, ids=[text for _, text in WRONG_USE])
def test_wrong_use_is_explained_in_a_line(
    refused: Callable[..., str], arguments: tuple[str, ...], problem: str
) -> None:
    assert problem in refused(*arguments)
