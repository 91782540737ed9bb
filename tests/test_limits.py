"""Batches beyond what a driver binds, and text that would break an array made by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from xclaim import Queue, create_engine
from xclaim.verbs import pushing

MANY = 70_000  # PostgreSQL and libpq bind 65,535 parameters at most, SQLite 32,766
AWKWARD = [
    "",
    " ",
    " blank around ",
    "NULL",
    "null",
    '"',
    "\\",
    '\\"',
    "{}",
    "{a,b}",
    ",",
    "a,b",
    "line\nbreak\ttab\r",
    "quote ' quote",
    "%s %(x)s %",
    ":name $1 ?",
    "naïve café",
    "📦🚀",
    "\u2028\ufeff\u200b",
    "\\u0000",
    "]}\x1f",
]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine)


@pytest.mark.slow
def test_more_messages_than_parameters_can_be_bound(queue: Queue) -> None:
    pushed = queue.push_many(range(MANY))

    claims = queue.claim_many(MANY)
    queue.ack_many(claims)

    assert [message.payload for message in pushed] == list(range(MANY))
    assert [claim.message.id for claim in claims] == [message.id for message in pushed]
    assert queue.counts().consumed == MANY


@pytest.mark.slow
def test_more_keys_than_parameters_can_be_bound(queue: Queue) -> None:
    keys = [f"key {number}" for number in range(MANY)]
    first = queue.push_many([0] * MANY, unique_keys=keys)

    again = queue.push_many([0] * MANY, unique_keys=keys)

    assert [message.id for message in again] == [message.id for message in first]
    assert queue.counts().available == MANY


@pytest.mark.slow
def test_a_stream_passes_more_messages_than_parameters(queue: Queue) -> None:
    queue.push_many([0] * MANY)

    consumed = sum(1 for _ in queue.stream(batch=MANY))

    assert consumed == MANY
    assert queue.counts().consumed == MANY


def test_a_push_beyond_one_statement_is_still_all_or_nothing(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "_MAX_TEXT", 1_000)

    pushed = queue.push_many([{"number": number} for number in range(500)])
    claims = queue.claim_many(500)

    assert [claim.message.id for claim in claims] == [message.id for message in pushed]
    assert [claim.payload["number"] for claim in claims] == list(range(500))


def test_a_push_beyond_one_statement_that_fails_pushes_nothing(
    queue: Queue, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "_MAX_TEXT", 1_000)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE UNIQUE INDEX only_once ON xclaim_message (payload) WHERE priority = 7"
        )

    with pytest.raises(Exception, match=r"UNIQUE|unique"):
        queue.push_many([*range(500), 0], priority=7)

    assert queue.counts().available == 0
    assert queue.push(1).payload == 1


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_awkward_text_arrives_as_it_was_pushed(queue: Queue, text: str) -> None:
    payload = {text: [text, {"text": text}]}
    queue.push_many([payload, text])

    claims = queue.claim_many(2)
    queue.ack_many(claims)

    assert [claim.payload for claim in claims] == [payload, text]


@pytest.mark.parametrize("text", [text for text in AWKWARD if text], ids=ascii)
def test_awkward_keys_are_the_same_keys_again(queue: Queue, text: str) -> None:
    payload = {text: text}
    first = queue.push_many([payload, 1], unique_keys=[text, None])

    again = queue.push(payload, unique_key=text)
    claims = queue.claim_many(2, claimed_by=text, claim_key=text)

    assert again.id == first[0].id
    assert again.payload == payload
    assert again.unique_key == text
    assert {claim.claimed_by for claim in claims} == {text}
