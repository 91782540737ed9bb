"""The first claim of a process looks for lapsed claims, too, and pays next to nothing for it.

What gives them back is a statement that PostgreSQL plans for milliseconds on a new connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.contract.facades import queue_by
from tests.retrying import AT_ONCE
from xclaim import Queue
from xclaim.connections import direct


@pytest.fixture
def others(database_url: str) -> Iterator[Queue[Any]]:
    """The queue as another process has it."""
    with Queue("orders", database_url, retry=AT_ONCE) as queue:
        yield queue


@pytest.fixture(params=["Queue", "AsyncQueue"])
def queue(request: pytest.FixtureRequest, database_url: str) -> Iterator[Queue[Any]]:
    """The queue of a process that has not claimed yet."""
    with queue_by(request.param, database_url, retry=AT_ONCE) as queue:
        yield queue


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are sent."""
    texts: list[str] = []
    run = direct.run

    def noted(connection: Any, statement: Any, *given: Any, **options: Any) -> Any:
        texts.append(str(statement))
        return run(connection, statement, *given, **options)

    monkeypatch.setattr(direct, "run", noted)
    return texts


def giving_back(sent: list[str]) -> int:
    return sum("LeaseExpired" in each for each in sent)


def test_a_first_claim_sends_nothing_that_gives_back_where_nothing_has_lapsed(
    others: Queue[Any], queue: Queue[Any], sent: list[str]
) -> None:
    others.push_many([1, 2])
    others.claim()
    sent.clear()

    claimed = queue.claim()

    assert claimed is not None
    assert claimed.payload == 2
    assert giving_back(sent) == 0


def test_a_first_claim_gives_back_what_lapsed_though_others_are_there(
    others: Queue[Any], queue: Queue[Any], sent: list[str]
) -> None:
    others.push_many([1, 2, 3])
    lapsed = others.claim(lease=timedelta(0))
    sent.clear()

    claimed = queue.claim()

    assert claimed is not None
    assert giving_back(sent) == 1
    counts = others.counts()
    assert (counts.claimed, counts.available) == (1, 2)
    assert lapsed is not None


def test_a_first_claim_that_finds_nothing_gives_back_what_lapsed(
    others: Queue[Any], queue: Queue[Any]
) -> None:
    others.push(1)
    others.claim(lease=timedelta(0))

    claimed = queue.claim()

    assert claimed is not None
    assert claimed.payload == 1


def test_a_first_claim_leaves_what_its_own_key_takes_back(
    others: Queue[Any], queue: Queue[Any]
) -> None:
    others.push_many([1, 2])
    others.claim(claim_key="task", claimed_by="first try", lease=timedelta(0))

    claimed = queue.claim(claim_key="task", claimed_by="second try")

    assert claimed is not None
    assert claimed.payload == 1
