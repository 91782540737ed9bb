"""What a role may not read is in none of the statements it sends, and None in what it sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.looks import patient_observer
from tests.people import People, people
from tests.retrying import AT_ONCE
from xclaim import Queue
from xclaim.errors import FilterError
from xclaim.observing import Observer
from xclaim.operations.grants import Kind

BY = "etl/r/2/pack[7]#2@host"
HEADERS = {"dag_id": "etl", "run_id": "r/1", "task_id": "load", "map_index": -1, "try_number": 1}
WHO = [*Kind, "reader"]
SEES_PAYLOADS = {Kind.PRODUCER, Kind.CONSUMER, "reader"}
SEES_FAILURES = {*SEES_PAYLOADS, Kind.MAINTAINER}


@pytest.fixture(scope="module")
def office(postgresql_server: str, _template_url: str) -> Iterator[People]:
    with people(postgresql_server, _template_url, ["orders"]) as all_of_them:
        for name in ("orders", "invoices"):
            queue = Queue(name, all_of_them.owner, retry=AT_ONCE)
            queue.push_many([{"name": "tea"}] * 3, headers=HEADERS, max_attempts=2)
            for claimed in queue.claim_many(2, claimed_by=BY):
                queue.release(claimed, error=KeyError("cup"))
            queue.ack_many(queue.claim_many(1, claimed_by=BY))
            queue.claim(claimed_by=BY)
        yield all_of_them


def observer(office: People, who: str) -> Observer:
    return patient_observer(office.engines[who])


@pytest.mark.parametrize("who", WHO)
def test_a_role_sees_what_it_may_and_only_its_queue(office: People, who: str) -> None:
    sees = observer(office, who)

    found = sees.search("").messages
    lives = [sees.message(message.id) for message in found]

    assert {message.queue for message in found} == {"orders"}
    assert len(found) == 3
    is_shown = who in SEES_PAYLOADS
    assert all((message.excerpt is not None) is is_shown for message in found)
    assert any(message.error is not None for message in found) is is_shown
    assert any(message.error_class == "KeyError" for message in found)
    assert all(life is not None and (life.payload is not None) is is_shown for life in lives)
    assert all(life is not None and (life.headers is not None) is is_shown for life in lives)
    assert all(life is not None and (life.producer is not None) is is_shown for life in lives)
    told = [moment for life in lives if life is not None for moment in life.moments]
    assert any(moment.what == "failed" for moment in told) is (who in SEES_FAILURES)
    assert any("cup" in (moment.error or "") for moment in told) is is_shown


@pytest.mark.parametrize("who", WHO)
def test_every_look_answers_every_role(office: People, who: str) -> None:
    sees = observer(office, who)

    of_task = sees.work("etl", "r/2", "pack", 7)
    of_producer = sees.work("etl", "r/1")

    assert {held.queue for held in sees.claims().page} == {"orders"}
    assert sees.failing("orders", 10) or sees.search("status:available").messages
    assert {letters.queue for letters in sees.dead_letters().groups} <= {"orders"}
    assert sees.matching("", limit=99).count == 3
    assert [each.text for each in sees.completions("queue:")] == ["queue:orders"]
    assert len(of_task.held) == 1
    assert len(of_task.consumed) == 1
    assert (len(of_producer.pushed) == 3) is (who in SEES_PAYLOADS)
    for filter_ in (
        "error:KeyError",
        "class:KeyError",
        "run:r/2",
        "by:etl*",
        "status:claimed",
        "task:pack",
    ):
        assert {message.queue for message in sees.search(filter_).messages} == {"orders"}


@pytest.mark.parametrize("who", [Kind.OBSERVER, Kind.MAINTAINER])
def test_what_may_not_be_read_may_not_be_searched(office: People, who: str) -> None:
    sees = observer(office, who)

    with pytest.raises(FilterError, match="may not read payloads"):
        sees.search("payload.name:tea")

    assert sees.search("error:cup").messages == ()
    assert sees.search("run:r/1").messages == ()


@pytest.mark.parametrize("who", [Kind.OBSERVER, Kind.MAINTAINER])
def test_letters_are_grouped_by_class_where_errors_are_hidden(office: People, who: str) -> None:
    queue = Queue("orders", office.owner, retry=AT_ONCE)
    queue.push(1, max_attempts=1, priority=9)
    (claimed,) = queue.claim_many(1)
    queue.release(claimed, error=ValueError("secret"))

    letters = observer(office, who).dead_letters("orders").groups
    queue.withdraw(ids=[claimed.message.id])

    assert [(each.error_class, each.first_line) for each in letters] == [("ValueError", None)]
