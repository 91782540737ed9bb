"""Keys that nobody would choose: what is a key is kept exactly, and what is none is refused."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from tests.ordering.draining import drained
from xclaim import InvalidArgumentError, Queue

LONGEST = 255  # bytes
KEYS = [
    "k" * LONGEST,
    "ü" * (LONGEST // 2),
    " ",
    "\t\n\r",
    "'; DROP TABLE xclaim_message; --",
    "%(key)s %s %% :key {key}",
    "null",
    "\\N",
    '{"a": [1]}',
    "\u00e9",  # one character, and the same as two
    "e\u0301",
    "K",
    "k",
    "k ",
    "\u202egnol\u202c",
    "👩‍👩‍👧‍👦",
    "\U0010ffff",
]


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_a_key_is_kept_as_it_is_and_orders(queue: Queue, key: str) -> None:
    pushed = [queue.push(number, ordering_key=key) for number in range(3)]

    claim = queue.claim()

    assert claim is not None
    assert [claim.message.ordering_key, pushed[1].ordering_key] == [key, key]
    assert queue.claim() is None
    queue.ack(claim)
    assert drained(queue) == [1, 2]


def test_keys_that_look_alike_are_as_many_lines(queue: Queue) -> None:
    queue.push_many(list(range(len(KEYS))), ordering_keys=KEYS)

    assert len(queue.claim_many(100)) == len(KEYS)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "k" * (LONGEST + 1),
        "ü" * 128,
        "k\0",
        "\0",
        "\ud800",
        7,
        b"k",
        ["k"],
        True,
        "k" * 100_000,
    ],
    ids=lambda key: ascii(key)[:20],
)
def test_what_is_no_key_is_refused_and_nothing_is_pushed(queue: Queue, key: object) -> None:
    with pytest.raises(InvalidArgumentError):
        queue.push(1, ordering_key=key)  # type: ignore[call-overload]
    with pytest.raises(InvalidArgumentError):
        queue.push_many([1, 2], ordering_keys=["k", key])  # type: ignore[list-item]

    assert queue.peek(10) == []


def test_one_key_in_two_queues_is_two_lines(queue: Queue, engine: Engine) -> None:
    other = Queue("parcels", engine)
    for number in range(2):
        queue.push(number, ordering_key="k")
        other.push(number, ordering_key="k")

    held = [queue.claim(), other.claim()]

    assert [claim and claim.payload for claim in held] == [0, 0]
    assert [queue.claim(), other.claim()] == [None, None]


def test_a_queue_whose_name_is_a_key_is_no_line(queue: Queue, engine: Engine) -> None:
    other = Queue("k", engine)
    queue.push(1, ordering_key="orders")
    other.push(2, ordering_key="orders")
    queue.push(3)

    assert sorted(claim.payload for claim in queue.claim_many(10)) == [1, 3]
    assert [claim.payload for claim in other.claim_many(10)] == [2]


def test_a_queue_of_letters_does_not_wait_for_its_keys(queue: Queue, engine: Engine) -> None:
    letters = Queue("orders.dead", engine)
    queue.push_many([1, 2], ordering_keys=["k", "k"], max_attempts=1)
    for _ in range(2):
        claim = queue.claim()
        assert claim is not None
        queue.release(claim, error="boom")

    assert [claim.payload for claim in letters.claim_many(10)] == [1, 2]


def test_a_batch_of_one_key_is_in_the_order_of_its_payloads(queue: Queue) -> None:
    queue.push_many(list(range(300)), ordering_keys=["k"] * 300)

    assert drained(queue) == list(range(300))


def test_a_batch_of_many_keys_is_in_the_order_of_each(queue: Queue) -> None:
    keys = [f"key {number % 7}" for number in range(100)]
    queue.push_many(list(range(100)), ordering_keys=keys)

    consumed = drained(queue)

    assert sorted(consumed) == list(range(100))
    for key in range(7):
        of_key = [number for number in consumed if number % 7 == key]
        assert of_key == sorted(of_key)


def test_the_table_holds_the_bytes_of_the_key(queue: Queue, engine: Engine) -> None:
    queue.push_many(list(range(len(KEYS))), ordering_keys=KEYS)

    with engine.connect() as connection:
        stored = connection.execute(text("SELECT ordering_key FROM xclaim_message ORDER BY id"))
        assert [row.ordering_key for row in stored] == KEYS
