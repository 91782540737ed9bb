"""Names, keys, payloads and errors stay data, whatever stands in them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from xclaim import Queue, Ticket, create_engine

HOSTILE = [
    "'; DROP TABLE xclaim_message; --",
    '"; DROP TABLE xclaim_message; --',
    "$$ $1 $body$",
    "%s %(queue_name)s %% %",
    ":x :queue_name ::text ?",
    "\\ \\' \\\\ \\u0000",
    '{a,"b",NULL} [] \' {0}',
    "/* -- */ \u00fc\U0001fad6",
    "NULL",
]


@pytest.fixture(params=["sqlite_url", "postgresql_url"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture(params=HOSTILE)
def word(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_message_takes_any_text_along(url: str, word: str) -> None:
    headers = {word: [word]}
    with Queue(word, url, notify=True) as queue:
        pushed = queue.push({word: word}, unique_key=word, headers=headers, max_attempts=3)
        queue.push_many([word, word], unique_keys=[f"{word}1", None], headers=headers)

        claimed = queue.claim(claim_key=word, claimed_by=word)
        assert claimed is not None
        again = queue.claim(claim_key=word, claimed_by=f"{word}2")
        assert again is not None
        (resumed,) = queue.resume(Ticket.of([again]), claim_key=f"{word}3", claimed_by=word)
        released = queue.release(resumed, error=word, delay=timedelta(0))
        for claim in queue.stream(claim_key=word, claimed_by=word):
            assert claim.claimed_by == word

        assert (pushed.queue, pushed.payload, pushed.headers) == (word, {word: word}, headers)
        assert (released.last_error, released.unique_key) == (word, word)
        assert queue.find([word])[0].consumed_by == word
        assert queue.push({word: word}, unique_key=word).id == pushed.id
        assert queue.counts().consumed == 3


def test_a_message_is_looked_after_under_any_name(url: str, word: str) -> None:
    with Queue(f"{word} kept", url, notify=True) as queue:
        queue.push_many([1, 2, 3], unique_keys=[f"{word}{n}" for n in range(3)], max_attempts=1)
        claim = queue.claim(lease=timedelta(0), claimed_by=word)
        assert claim is not None

        assert queue.expire() == 1
        assert queue.get(claim.message.id) is not None
        assert queue.redrive(to=f"{word} too") == 1
        assert queue.withdraw([f"{word}{n}" for n in range(3)]) == 3
        assert queue.peek(10) == []


def test_the_table_is_as_it_was(database_url: str) -> None:
    engine = create_engine(database_url)
    for word in HOSTILE:
        with Queue(word, engine) as queue:
            queue.push(word, unique_key=word)

    with engine.connect() as connection:
        rows = connection.execute(text("SELECT queue, unique_key FROM xclaim_message ORDER BY id"))
        stored = [tuple(row) for row in rows]

    engine.dispose()
    assert stored == [(word, word) for word in HOSTILE]
