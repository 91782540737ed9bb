"""Any readable name is a queue's, with all there is to a queue, and with no neighbour of it."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from tests.contract.facades import Facade
from tests.retrying import AT_ONCE
from xclaim import InvalidArgumentError, Queue, Status
from xclaim.arguments import MAX_QUEUE_BYTES

NOW = timedelta(0)
NFC = unicodedata.normalize("NFC", "Ångström")
NFD = unicodedata.normalize("NFD", "Ångström")
_numbers = itertools.count()


def filled(start: str, filler: str) -> str:
    """Return a name as long as names may be."""
    size = MAX_QUEUE_BYTES - len(start.encode())
    return start + filler * (size // len(filler.encode())) + "x" * (size % len(filler.encode()))


@pytest.fixture
def start() -> str:
    """Return what no other test's names begin with: all share a database."""
    return f"names-{next(_numbers)}-"


ENDS = {
    "longest": None,
    "quotes": 'it\'s "quoted" `so` $$ -- /* ',
    "backslash": "\\' \\x1b \\",
    "percent": "100%.dead%s %(queue_name)s %%",
    "glob": "*?[a-z]_{a,b}",
    "colon": ":queue_name ::text",
    "nfc": NFC,
    "nfd": NFD,
    "emoji": "👍🏽🎉",
    "arabic": "طلبات",
    "spaces": " inside and at the end ",
    "upper case": "ORDERS.DEAD",
    "dots": "../..//a.dead.b",
    "json": '{"a": [1]}',
    "null": "null",
}


@pytest.fixture(params=ENDS)
def name(request: pytest.FixtureRequest, start: str) -> str:
    end = ENDS[request.param]
    return filled(start, "é") if end is None else start + end


@pytest.fixture
def dead(facade: Facade, name: str) -> Queue:
    return facade.queue(f"{name}.dead", retry=AT_ONCE)


def test_a_queue_of_any_name_has_dead_letters_that_come_back(
    queue: Queue, dead: Queue, name: str
) -> None:
    pushed = queue.push("poison", max_attempts=1, unique_key="key")
    claimed = queue.claim()
    assert claimed is not None
    died = queue.release(claimed, error="boom")

    assert (died.queue, died.origin_queue) == (f"{name}.dead", name)
    assert [message.id for message in dead.peek()] == [pushed.id]
    assert queue.counts().dead_letters == 1
    assert dead.redrive() == 1
    (back,) = queue.peek()
    assert (back.id, back.queue) == (pushed.id, name)


def test_its_dead_letters_are_claimed_acked_and_pruned(queue: Queue, dead: Queue) -> None:
    queue.push_many(["a", "b"], max_attempts=1)
    for claimed in queue.claim_many(2):
        queue.release(claimed, error="boom")

    letter = dead.claim()
    assert letter is not None
    dead.ack(letter)

    consumed = dead.get(letter.message.id)
    assert consumed is not None
    assert consumed.status is Status.CONSUMED
    assert dead.prune(older_than=NOW) == 1
    assert dead.withdraw(ids=[message.id for message in dead.peek()]) == 1


def test_a_lapsed_lease_makes_a_dead_letter_of_it_too(queue: Queue, dead: Queue) -> None:
    queue.push("poison", max_attempts=1)
    queue.claim(lease=NOW)

    assert queue.expire() == 1

    assert len(dead.peek()) == 1


def test_the_views_count_it_under_its_own_name(queue: Queue, engine: Engine, name: str) -> None:
    queue.push_many(["a", "b"], max_attempts=1)
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed, error="boom")

    query = text("SELECT available, dead_letters FROM xclaim_queue_stats WHERE queue = :name")
    with engine.connect() as connection:
        (row,) = connection.execute(query, {"name": name}).all()

    assert tuple(row) == (1, 1)


def neighbours(name: str) -> Iterator[str]:
    yield name.upper()
    yield name.swapcase()
    yield unicodedata.normalize("NFD", name)
    yield unicodedata.normalize("NFC", name)
    yield name.replace("%", "x").replace("_", "x").replace("*", "x").replace("?", "x")
    yield name[:-1]
    yield name.strip() or name


def test_no_other_queue_is_touched(facade: Facade, queue: Queue, name: str) -> None:
    names = {*neighbours(name)} - {name}
    fitting = [each for each in names if len(each.encode()) <= MAX_QUEUE_BYTES]
    others = [facade.queue(each) for each in fitting if not each.endswith(".dead")]
    for other in others:
        other.push("theirs")
    queue.push("ours")

    claimed = queue.claim_many(10)
    queue.ack_many(claimed)
    queue.prune(older_than=NOW)

    assert [claim.payload for claim in claimed] == ["ours"]
    assert [other.counts().available for other in others] == [1] * len(others)


@pytest.mark.parametrize(
    "bad",
    [
        "a\nb",
        "a\x1b[2J",
        "\u202eabc",
        "a\u200bb",
        "a\x00",
        "a\u2028b",
        "\ud800",
        "",
        "   ",
        "\u3000",
        "x" * (MAX_QUEUE_BYTES + 1),
        "é" * (MAX_QUEUE_BYTES // 2) + "x",
        "x" * (MAX_QUEUE_BYTES + 1) + ".dead",
    ],
    ids=ascii,
)
def test_a_name_that_nobody_can_read_is_refused(facade: Facade, bad: str) -> None:
    with pytest.raises(InvalidArgumentError, match="queue name"):
        facade.queue(bad)


@pytest.mark.parametrize("end", [".dead", ".dead.dead", ".dead.dead.dead"])
def test_nobody_pushes_to_a_queue_whose_name_ends_as_that_of_dead_letters(
    facade: Facade, start: str, end: str
) -> None:
    with pytest.raises(InvalidArgumentError, match="dead-letter queue"):
        facade.queue(start + end).push(1)


def test_a_dead_letter_that_fails_again_stays_where_it_is(facade: Facade, start: str) -> None:
    queue, dead = facade.queue(start, retry=AT_ONCE), facade.queue(f"{start}.dead", retry=AT_ONCE)
    queue.push("poison", max_attempts=1)
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed, error="boom")

    for _ in range(3):
        again = dead.claim()
        assert again is not None
        dead.release(again, error="boom")

    assert dead.counts().dead_letters + len(dead.peek()) >= 1
    assert facade.queue(f"{start}.dead.dead").peek() == []
    assert queue.redrive() == 1
