"""Searches find what they say, whatever way they go, and go on where they stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests import databases
from tests.looks import patient_observer
from tests.retrying import AT_ONCE
from xclaim import Queue, Status, create_engine
from xclaim.errors import FilterError, InvalidArgumentError
from xclaim.observing import Observer, searching, walking
from xclaim.observing.filters import StatusWord
from xclaim.observing.places import Place, to_cursor
from xclaim.observing.values import Found
from xclaim.operations.migrate import upgrade

LONG = timedelta(minutes=5)
LATER = timedelta(days=1)
LINEAGE = {"dag_id": "etl", "run_id": "r/1", "task_id": "load", "map_index": 3, "try_number": 1}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def settled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """A database that the tests only look at."""
    with ExitStack() as ends:
        if request.param == "postgresql":
            server = request.getfixturevalue("postgresql_server")
            url = ends.enter_context(databases.temporary_database(server))
        else:
            url = databases.sqlite_url(tmp_path_factory.mktemp("searching") / "xclaim.db")
        upgrade(url)
        engine = create_engine(url)
        ends.callback(engine.dispose)
        yield engine


@pytest.fixture(scope="module")
def watcher(settled: Engine) -> Observer:
    return patient_observer(settled)


@pytest.fixture(scope="module")
def ids(settled: Engine) -> dict[str, int]:
    """A message in each state there is, by the name of the state, and others of another queue."""
    engine = settled
    other = Queue("other", engine)
    other.push_many([{"number": number} for number in range(3)])
    queue = Queue("orders", engine, retry=AT_ONCE)
    found: dict[str, int] = {}
    consumed = queue.push("a", headers=LINEAGE, unique_key="key-1")
    queue.ack(claim(queue, by="etl/r/2/pack[7]#2@host"))
    found["consumed"] = consumed.id
    dead = queue.push({"name": "teapot", "sizes": [1, 2]}, max_attempts=1)
    queue.release(claim(queue), error=KeyError("no such cup"))
    found["dead"] = dead.id
    found["lapsed"] = queue.push("c").id
    claim(queue, lease=timedelta(0), by="etl/r/2/pack#1@host")
    found["claimed"] = queue.push({"deep": {"er": [{"sku": "tea"}, {"sku": 17}]}}).id
    claim(queue, lease=LATER, by="somebody:17")
    found["retrying"] = queue.push({"when": None, "is": True, "much": 1.5, "text": "17"}).id
    queue.release(claim(queue), delay=LATER, error="it failed")
    found["delayed"] = queue.push({"0": "zero"}, delay=LATER).id
    found["available"] = queue.push(["red", "green"], priority=3).id
    return found


def claim(queue: Queue, *, by: str = "me", lease: timedelta = LONG) -> Any:
    # Not by a claim of the queue's own, which would give back what has lapsed.
    claimed = queue.claim(claimed_by=by, lease=lease)
    assert claimed is not None
    return claimed


def found(observer: Observer, filter_: str) -> list[int]:
    return [message.id for message in observer.search(filter_).messages]


STATES = {
    "status:available queue:orders": ["available"],
    "status:delayed queue:orders": ["delayed", "retrying"],
    "status:retrying queue:orders": ["retrying"],
    "status:claimed queue:orders": ["claimed", "lapsed"],
    "status:lapsed queue:orders": ["lapsed"],
    "status:consumed queue:orders": ["consumed"],
    "status:dead queue:orders": ["dead"],
    "status:dead queue:orders.dead": ["dead"],
    "status:dead": ["dead"],
    "status:retrying": ["retrying"],
    "status:lapsed": ["lapsed"],
    "status:consumed": ["consumed"],
    "status:dead queue:other": [],
    "status:available queue:orders.dead": [],
    "status:dead status:claimed": [],
    "status:delayed status:retrying": ["retrying"],
    "queue:orders -status:claimed -status:consumed -status:dead": [
        "available",
        "delayed",
        "retrying",
    ],
    "queue:ord* status:claimed": ["claimed", "lapsed"],
    "key:key-1": ["consumed"],
    "key:key-1 queue:orders": ["consumed"],
    "key:key-1 queue:other": [],
    "key:key* queue:orders": ["consumed"],
    "by:somebody:17": ["claimed"],
    "by:etl/*": ["lapsed", "consumed"],
    "run:r/1": ["consumed"],
    "run:r/2": ["lapsed", "consumed"],
    "run:r": [],
    "run:r/*": ["lapsed", "consumed"],
    "dag:etl": ["lapsed", "consumed"],
    "dag:et": [],
    "dag:et*": ["lapsed", "consumed"],
    "task:pack": ["lapsed", "consumed"],
    "task:load": ["consumed"],
    "task:pac": [],
    "task:pac*": ["lapsed", "consumed"],
    "error:KeyError": ["dead"],
    "error:cup": ["dead"],
    'error:"it failed"': ["retrying"],
    "class:KeyError": ["dead"],
    "class:Key": [],
    "class:Key*": ["dead"],
    "class:*": ["dead"],
    "class:cup": [],
    "-class:* queue:orders status:retrying": ["retrying"],
    "-class:* queue:orders status:dead": [],
    "payload.name:teapot": ["dead"],
    "payload.sizes:2": ["dead"],
    "payload.sizes.1:2": ["dead"],
    "payload.sizes.0:2": [],
    'payload.sizes:"2"': [],
    "payload.deep.er.0.sku:tea": ["claimed"],
    "payload.deep.er.1.sku:17": ["claimed"],
    "payload.deep.er.1.sku:17.0": ["claimed"],
    'payload.deep.er.1.sku:"17"': [],
    "payload.when:null": ["retrying"],
    "payload.is:true": ["retrying"],
    'payload.is:"true"': [],
    "payload.much:1.5": ["retrying"],
    'payload.text:"17"': ["retrying"],
    "payload.text:17": [],
    "payload.0:zero": ["delayed"],
    "payload.0:red": ["available"],
    "payload:red": ["available"],
    "payload:c": ["lapsed"],
    "-payload.name:teapot queue:orders status:dead": [],
    "error:x' payload.a'b:x\"": None,
}


@pytest.mark.parametrize("filter_", [each for each, names in STATES.items() if names is not None])
def test_a_filter_finds_what_it_is_about(
    watcher: Observer, ids: dict[str, int], filter_: str
) -> None:
    assert found(watcher, filter_) == [ids[name] for name in STATES[filter_] or ()]


def test_each_status_is_that_of_the_message(watcher: Observer, ids: dict[str, int]) -> None:
    statuses = {name: watcher.search(f"id:{id_}").messages[0] for name, id_ in ids.items()}

    assert statuses["dead"].is_dead
    assert statuses["delayed"].is_delayed
    assert statuses["lapsed"].is_lapsed
    assert not statuses["claimed"].is_lapsed
    assert {message.status for message in statuses.values()} == set(Status)


def test_ids_are_found_as_a_list_and_a_range(watcher: Observer, ids: dict[str, int]) -> None:
    first, last = min(ids.values()), max(ids.values())

    assert found(watcher, f"id:{first},{last},999999") == [last, first]
    assert found(watcher, f"id:{first}..{last}") == sorted(ids.values(), reverse=True)
    assert found(watcher, f"id:{first}..{last} id:{last}") == [last]
    assert found(watcher, f"id:{first}..{last} -id:{last}")[0] == last - 1


@pytest.fixture(scope="module")
def _many(settled: Engine, ids: dict[str, int]) -> None:
    del ids  # they are there first
    many = Queue("many", settled, retry=AT_ONCE)
    for priority in (1, 0, 2):
        many.push_many(list(range(4)), priority=priority, max_attempts=1)
    many.ack_many(many.claim_many(2, lease=LATER))
    for claimed in many.claim_many(2, lease=LATER):
        many.release(claimed, error="x")
    many.push_many([1, 2], delay=LATER)
    many.claim_many(3, lease=LATER)


@pytest.mark.usefixtures("_many")
@pytest.mark.parametrize("filter_", ["", "payload:1", *(f"status:{word}" for word in StatusWord)])
@pytest.mark.parametrize("queue", ["", "queue:many"])
def test_pages_have_each_message_once(watcher: Observer, filter_: str, queue: str) -> None:
    whole = watcher.search(f"{filter_} {queue}", limit=500)

    pages = list(paged(watcher, f"{filter_} {queue}", limit=2))

    assert whole.older is None
    listed = [message.id for page in pages for message in page.messages]
    assert listed == [message.id for message in whole.messages]
    assert len(set(listed)) == len(listed)


def paged(observer: Observer, filter_: str, limit: int = 50) -> Iterator[Found]:
    page = observer.search(filter_, limit=limit)
    yield page
    while page.older is not None:
        page = observer.search(filter_, limit=limit, before=page.older)
        yield page


@pytest.mark.parametrize("first_look", [1, 250])
def test_small_parts_of_an_index_are_gone_through_in_their_order(
    engine: Engine, observer: Observer, monkeypatch: pytest.MonkeyPatch, first_look: int
) -> None:
    monkeypatch.setattr(walking, "_FIRST_LOOK", first_look)
    for name in ("a", "b", "c", "c c"):
        for priority in (32_767, 0, -32_768):
            Queue(name, engine).push_many([1, 2, 3], priority=priority)
    order = "ORDER BY queue, priority DESC, available_at DESC, id DESC"
    with engine.connect() as connection:
        ids = connection.execute(text(f"SELECT id FROM xclaim_message {order}")).scalars().all()

    pages = list(paged(observer, "status:available", limit=4))
    nothing = list(paged(observer, "status:available payload:4"))

    assert [message.id for page in pages for message in page.messages] == ids
    assert sum(page.looked_at for page in nothing) == len(ids)
    assert nothing[-1].looked_back_to is not None


@pytest.mark.parametrize("most", [1, 2, 3, 7])
@pytest.mark.parametrize("filter_", ["status:available", "status:delayed", "status:available id:1"])
def test_a_search_through_many_priorities_stops_after_some_and_goes_on(
    engine: Engine, observer: Observer, monkeypatch: pytest.MonkeyPatch, most: int, filter_: str
) -> None:
    monkeypatch.setattr(walking, "_MOST_PARTS_IN_ALL", most)
    for name in ("a", "b"):
        for priority in (32_767, 7, 0, -32_768):
            delay = LATER if priority == -32_768 else None  # nothing of the others is delayed
            Queue(name, engine).push_many([1, 2], priority=priority, delay=delay)
    whole = {"status:available": 12, "status:delayed": 4, "status:available id:1": 1}[filter_]

    pages = list(paged(observer, filter_, limit=3))

    found = [message.id for page in pages for message in page.messages]
    assert len(found) == len(set(found)) == whole
    assert len(pages) > 1 or most == 7 or whole == 1


@pytest.mark.parametrize("walk", ["", "status:available queue:orders", "status:consumed queue:c"])
def test_a_search_stops_after_so_many_messages_and_goes_on(
    engine: Engine, observer: Observer, monkeypatch: pytest.MonkeyPatch, walk: str
) -> None:
    monkeypatch.setattr(searching, "MOST_LOOKED_AT", 10)
    monkeypatch.setattr(walking, "_FIRST_LOOK_INTO", 4)
    consumed = Queue("c", engine)
    orders = Queue("orders", engine)
    consumed.push_many([{"n": number} for number in range(25)])
    consumed.ack_many(consumed.claim_many(25))
    orders.push_many([{"n": number} for number in range(25)])

    first, *others = pages = list(paged(observer, f"{walk} payload.n:0"))

    assert others
    assert first.messages == ()
    assert first.looked_at == 10
    assert first.looked_back_to is not None
    assert all(page.looked_at <= 10 for page in pages)
    looked_at = sum(page.looked_at for page in pages)
    assert looked_at == (50 if not walk else 25)
    assert [len(page.messages) for page in pages].count(1) == (2 if not walk else 1)


FORGED = ["", "x", "%%%", "bnVsbA", "W10", "ü", "A" * 9_000, "eyJhIjoxfQ"]


@pytest.mark.parametrize("cursor", FORGED)
def test_a_cursor_that_is_none_is_a_filter_error(observer: Observer, cursor: str) -> None:
    with pytest.raises(FilterError, match="cursor"):
        observer.search("", before=cursor)


@pytest.mark.parametrize("kind", ["claims", "held"])
def test_a_cursor_with_a_time_and_no_queue_is_a_filter_error(observer: Observer, kind: str) -> None:
    place = Place(time="2026-01-01 00:00:00.000", id=1)
    cursor = to_cursor(kind, place)

    with pytest.raises(FilterError, match="cursor"):
        if kind == "claims":
            observer.claims(after=cursor)
        else:
            observer.search("status:claimed", before=cursor)


def test_a_page_says_how_far_it_has_looked(watcher: Observer, ids: dict[str, int]) -> None:
    first, last = min(ids.values()), max(ids.values())

    page = watcher.search(f"id:{first}..{last}", limit=2)

    assert page.looked_at == 2
    assert page.looked_back_to == page.messages[-1].created_at


def test_a_list_has_the_beginning_of_payloads(engine: Engine, observer: Observer) -> None:
    queue = Queue("orders", engine)
    queue.push({"a": "x" * 1_000})

    (message,) = observer.search("queue:orders").messages

    assert message.excerpt is not None
    assert message.excerpt.replace(" ", "").startswith('{"a":"xxx')
    assert len(message.excerpt) == 300
    assert message.excerpt_note is None


def test_an_encoded_payload_is_said_to_be(engine: Engine, observer: Observer) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO xclaim_message (queue, origin_queue, payload, codec, created_at,"
                " available_at) VALUES ('q', 'q', '{\"name\": \"tea\"}', 'arrow',"
                " '2020-01-01 00:00:00', '2020-01-01 00:00:00')"
            )
        )

    (message,) = observer.search("queue:q").messages
    searched = observer.search("payload.name:tea").messages

    assert message.excerpt == ""
    assert message.excerpt_note == "encoded as arrow"
    assert searched == ()


def test_what_matches_is_given_by_queue_and_status(watcher: Observer, ids: dict[str, int]) -> None:
    all_of_it = watcher.matching("queue:orders", limit=10_000)
    some_of_it = watcher.matching("queue:orders", limit=3)

    assert all_of_it.is_complete
    assert all_of_it.count == len(ids)
    assert all_of_it.ids["orders.dead", Status.AVAILABLE] == (ids["dead"],)
    assert set(all_of_it.ids["orders", Status.CLAIMED]) == {ids["lapsed"], ids["claimed"]}
    assert not some_of_it.is_complete
    assert some_of_it.count == 3


def test_of_chosen_messages_those_are_told_that_match_still(
    watcher: Observer, ids: dict[str, int]
) -> None:
    asked = [ids["dead"], ids["claimed"], 10**9]

    found = watcher.still_matching("queue:orders status:dead", asked)

    assert found.ids == {("orders.dead", Status.AVAILABLE): (ids["dead"],)}
    assert found.is_complete
    assert found.looked_at == 2
    assert found.not_looked_at == 0
    assert watcher.still_matching("", []).ids == {}
    with pytest.raises(InvalidArgumentError, match="10,000"):
        watcher.still_matching("", range(10_001))
