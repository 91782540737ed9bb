"""Queues in several parts, each in its place: they look like one, to both facades."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from tests import databases
from tests.contract.facades import Blocking
from tests.hostile import rows
from tests.retrying import AT_ONCE
from xclaim import (
    AsyncQueue,
    Claim,
    ClaimLostError,
    DuplicateMessageError,
    InvalidArgumentError,
    Message,
    Place,
    Places,
    Queue,
    QueueFullError,
    Retry,
    SchemaVersionError,
    Ticket,
    create_engine,
    verbs,
)
from xclaim.operations import migrate, ordering
from xclaim.places import part_of
from xclaim.queues.parts import Part
from xclaim.sql.schema import message_table
from xclaim.verb import Verb

NOWHERE = "postgresql://somebody:secret@127.0.0.1:1/shop"
KEYS = [f"key-{number}" for number in range(40)]
Open = Callable[..., Queue[Any]]


def split(first: str, rest: str, *schemas: str) -> Places:
    of_first, of_rest = schemas or (None, None)
    return Places(
        [
            Place(name="first", queues=["orders.[01]"], url=first, schema=of_first),
            Place(name="rest", queues=["*"], url=rest, schema=of_rest),
        ],
        parts={"orders": 4},
    )


@pytest.fixture(scope="module")
def shared_schemas(postgresql_server: str) -> Iterator[Places]:
    with databases.temporary_database(postgresql_server) as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            for schema in ("q1", "q2"):
                connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        engine.dispose()
        for schema in ("q1", "q2"):
            migrate.upgrade(url, schema=schema)
            ordering.enable(url, schema=schema)
        yield split(url, url, "q1", "q2")


@pytest.fixture(scope="module")
def shared_files(shared_sqlite_folder: Path) -> Places:
    urls = [databases.sqlite_url(shared_sqlite_folder / f"{name}.db") for name in ("one", "two")]
    for url in urls:
        migrate.upgrade(url)
    return split(*urls)


def emptied(places: Places) -> Places:
    for place in places:
        engine = create_engine(place.url)
        with engine.begin() as connection:
            table = message_table(place.schema)
            connection.execute(table.delete())
        engine.dispose()
    return places


@pytest.fixture
def two_schemas(shared_schemas: Places) -> Places:
    return emptied(shared_schemas)


@pytest.fixture
def two_files(shared_files: Places) -> Places:
    return emptied(shared_files)


@pytest.fixture(params=["two_schemas", "two_files"])
def places(request: pytest.FixtureRequest) -> Places:
    found: Places = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["Queue", "AsyncQueue"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def open_queue(places: Places, name: str = "orders", **options: Any) -> Queue[Any]:
            options = {"retry": AT_ONCE, **options}
            queue: Any = (
                Queue(name, places, **options)
                if request.param == "Queue"
                else Blocking(AsyncQueue(name, places, **options), runner.run)
            )
            stack.callback(queue.close)
            return cast("Queue[Any]", queue)

        yield open_queue


@pytest.fixture
def queue(places: Places, opened: Open) -> Queue[Any]:
    return opened(places)


def claimed(queue: Queue[Any], **options: Any) -> Claim[Any]:
    claim = queue.claim(**options)
    assert claim is not None
    return claim


def everything(queue: Queue[Any]) -> list[Claim[Any]]:
    """Claim until there is nothing."""
    return [claim for claims in iter(lambda: queue.claim_many(100), []) for claim in claims]


def parts_of(messages: list[Message[Any]]) -> set[str]:
    return {message.queue for message in messages}


@contextmanager
def without_table(place: Place) -> Iterator[None]:
    table = message_table(place.schema)
    rename(place, table.fullname, "put_aside")
    try:
        yield
    finally:
        rename(place, table.fullname.replace(table.name, "put_aside"), table.name)


def rename(place: Place, table: str, name: str) -> None:
    engine = create_engine(place.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")
    engine.dispose()


FIRST = {"orders.0", "orders.1"}
ALL_PARTS = FIRST | {"orders.2", "orders.3"}


def test_a_key_is_in_the_part_that_sha_256_says(queue: Queue[Any]) -> None:
    message = queue.push(1, unique_key="a")

    number = int(hashlib.sha256(b"a").hexdigest(), 16) % 4
    assert message.queue == f"orders.{number}"


def test_a_key_is_pushed_once_to_the_whole_queue(queue: Queue[Any]) -> None:
    first = queue.push_many(list(range(40)), unique_keys=KEYS)
    again = queue.push_many(list(range(40)), unique_keys=KEYS)

    assert parts_of(first) == ALL_PARTS
    assert [message.payload for message in first] == list(range(40))
    assert [(each.queue, each.id) for each in again] == [(each.queue, each.id) for each in first]
    assert queue.counts().available == 40


def test_another_payload_under_a_key_is_refused(queue: Queue[Any]) -> None:
    queue.push(1, unique_key="a")

    with pytest.raises(DuplicateMessageError):
        queue.push(2, unique_key="a")


def test_payloads_without_keys_go_to_one_part_after_another(queue: Queue[Any]) -> None:
    pushed = [queue.push(number) for number in range(4)]

    assert parts_of(pushed) == ALL_PARTS


def test_a_small_batch_without_keys_is_one_transaction(queue: Queue[Any]) -> None:
    assert len(parts_of(queue.push_many(list(range(100))))) == 1


def test_a_large_batch_without_keys_is_spread(queue: Queue[Any]) -> None:
    pushed = queue.push_many(list(range(1000)))

    assert parts_of(pushed) == ALL_PARTS
    assert [message.payload for message in pushed] == list(range(1000))


@pytest.mark.parametrize("payloads", [[], [1]])
@pytest.mark.parametrize("keys", ["unique_keys", "ordering_keys"])
def test_a_wrong_number_of_keys_is_refused(
    queue: Queue[Any], payloads: list[int], keys: str
) -> None:
    options: dict[str, Any] = {keys: ["a", "b"]}
    with pytest.raises(InvalidArgumentError, match="2"):
        queue.push_many(payloads, **options)


def test_messages_of_an_ordering_key_are_in_one_part(queue: Queue[Any]) -> None:
    lines = ["a", "b", "c", "d", None] * 8
    single = [queue.push(-number, ordering_key="a") for number in range(4)]
    batch = queue.push_many(list(range(40)), ordering_keys=lines)

    for key in "abcd":
        number = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 4
        of_key = [each for each in [*single, *batch] if each.ordering_key == key]
        assert parts_of(of_key) == {f"orders.{number}"}
    assert [message.payload for message in batch] == list(range(40))


def test_an_ordering_key_is_one_message_at_a_time(queue: Queue[Any]) -> None:
    for number in range(8):
        queue.push(number, ordering_key="a")

    taken = []
    while claims := everything(queue):
        taken.append([claim.payload for claim in claims])
        queue.ack_many(claims)

    assert taken == [[number] for number in range(8)]


def test_a_unique_key_and_an_ordering_key_of_one_payload_are_refused(queue: Queue[Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="two of its parts"):
        queue.push(1, unique_key="a", ordering_key="b")
    with pytest.raises(InvalidArgumentError, match="two of its parts"):
        queue.push_many([1, 2], unique_keys=["a", "b"], ordering_keys=[None, "b"])

    assert queue.counts().available == 0
    pushed = queue.push_many([1, 2], unique_keys=["a", None], ordering_keys=[None, "b"])
    assert [(each.unique_key, each.ordering_key) for each in pushed] == [("a", None), (None, "b")]


def test_all_parts_are_claimed_from_and_acked(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)

    claims = everything(queue)
    queue.ack_many(claims)

    assert sorted(claim.payload for claim in claims) == list(range(40))
    assert queue.counts().consumed == 40


def test_claims_begin_at_another_part_each_time(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)

    claims = [claimed(queue) for _ in range(4)]

    assert parts_of([claim.message for claim in claims]) == ALL_PARTS


def test_claims_begin_at_another_part_each_time_whatever_is_pushed_between(
    queue: Queue[Any],
) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)
    claims: list[Claim] = []

    for number in range(4):
        claims.append(claimed(queue))
        for _ in range(3):
            queue.push(number)

    assert parts_of([claim.message for claim in claims]) == ALL_PARTS


def test_claims_under_a_key_begin_at_another_part_each_time(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)

    claims = [claimed(queue, claim_key=f"task {number}") for number in range(4)]

    assert parts_of([claim.message for claim in claims]) == ALL_PARTS


@contextmanager
def writing_to(places: Places, part: int) -> Iterator[tuple[Connection, dict[str, str]]]:
    """Yield a connection to the place of a part, and the columns of a row that is in it."""
    first, rest = places
    engine = create_engine((first if part < 2 else rest).url)
    with engine.begin() as connection:
        yield connection, dict.fromkeys(("queue", "origin_queue"), f"'orders.{part}'")
    engine.dispose()


@pytest.mark.parametrize("who", [{}, {"claim_key": "task"}], ids=["without", "with a key"])
@pytest.mark.parametrize("numbers", [(2, 3), (3, 1), (0, 2)], ids=str)
def test_a_part_that_has_only_the_unreadable_does_not_end_a_stream(
    two_files: Places, opened: Open, numbers: tuple[int, int], who: dict[str, Any]
) -> None:
    unreadable, readable = numbers
    with writing_to(two_files, unreadable) as (connection, part):
        rows.ON_SQLITE["a codec nobody knows"].write(connection, max_attempts="NULL", **part)
    with Queue(f"orders.{readable}", two_files) as other:
        other.push_many([1, 2, 3, 4, 5])

    seen = [claim.payload for claim in opened(two_files).stream(batch=1, **who)]

    assert seen == [1, 2, 3, 4, 5]


def stream_of_ones(queue: Queue[Any]) -> list[Any]:
    return [claim.payload for claim in queue.stream(batch=1)]


def blocks_of_ones(queue: Queue[Any]) -> list[Any]:
    seen: list[Any] = []
    while True:
        with queue.consume_many(1) as claims:
            seen += [claim.payload for claim in claims]
        if not claims:
            return seen


@pytest.mark.parametrize("work", [stream_of_ones, blocks_of_ones])
def test_the_unreadable_of_two_places_is_not_taken_for_one_message(
    two_files: Places,
    opened: Open,
    work: Callable[[Queue[Any]], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "randrange", lambda *_: 0)  # so it begins at the first part
    for number in (0, 2):
        with writing_to(two_files, number) as (connection, part):
            unknown = rows.ON_SQLITE["a codec nobody knows"]
            unknown.write(connection, id="4711", max_attempts="1", **part)
    with Queue("orders.3", two_files) as other:
        other.push_many([1, 2, 3])

    seen = work(opened(two_files))

    assert seen == [1, 2, 3]


def test_what_was_not_consumed_is_found_in_all_parts(places: Places) -> None:
    with Queue("orders", places) as queue:
        queue.push_many([1, 2, 3, 4], unique_keys=KEYS[:4])
        claims = everything(queue)
        queue.ack(claims[0])

        found = queue._queue.runner.run_once(verbs.UNCONSUMED, claims)

    assert {claim.token for claim in found} == {claim.token for claim in claims[1:]}


def test_acks_of_a_batch_name_what_was_lost_and_ack_the_rest(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)
    claims = everything(queue)
    lost = claims[::2]
    for claim in lost:
        queue.release(claim, delay=timedelta(hours=1))

    with pytest.raises(ClaimLostError) as raised:
        queue.ack_many(claims)

    assert {claim.token for claim in raised.value.claims} == {claim.token for claim in lost}
    assert queue.counts().consumed == 20


@pytest.mark.parametrize("gone", [0, 1])
def test_acks_are_made_where_they_can_be(places: Places, queue: Queue[Any], gone: int) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)
    claims = everything(queue)

    with without_table(list(places)[gone]), pytest.raises(SchemaVersionError):
        queue.ack_many(claims)

    here = [claim for claim in claims if (claim.message.queue in FIRST) is (gone == 1)]
    assert queue.counts().consumed == len(here)
    queue.ack_many([claim for claim in claims if claim not in here])


def test_extend_and_release_go_to_the_part_of_the_claim(queue: Queue[Any]) -> None:
    for number in range(4):
        queue.push(number)
    claims = everything(queue)

    for claim in claims:
        assert queue.extend(claim, lease=timedelta(hours=1)).expires_at > claim.expires_at
    released = [queue.release(claim) for claim in claims]

    assert [each.queue for each in released] == [claim.message.queue for claim in claims]
    assert queue.counts().available == 4


def test_a_claim_of_another_queue_is_refused(places: Places, queue: Queue[Any]) -> None:
    with Queue("parcels", places) as parcels:
        parcels.push(1)
        claim = claimed(parcels)

    with pytest.raises(InvalidArgumentError, match="'parcels', not from 'orders'"):
        queue.ack(claim)


@pytest.mark.parametrize("number", range(4))
def test_a_retry_takes_its_own_message_back_before_a_new_one(
    queue: Queue[Any], number: int
) -> None:
    key = next(key for key in KEYS if part_of(key, 4) == number)
    queue.push("mine", unique_key=key)
    first = claimed(queue, claim_key="task", claimed_by="try 1")
    queue.push_many(list(range(40)), unique_keys=[f"{key}!" for key in KEYS])

    again = queue.claim_many(5, claim_key="task", claimed_by="try 2")

    assert [claim.payload for claim in again] == ["mine"]
    assert again[0].message.attempts == 2
    with pytest.raises(ClaimLostError):
        queue.ack(first)


def test_within_one_attempt_two_claims_are_two_messages(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)

    who = {"claim_key": "task", "claimed_by": "try 1"}
    claims = [claimed(queue, **who), claimed(queue, **who)]

    assert len({(claim.message.queue, claim.message.id) for claim in claims}) == 2


def test_what_is_taken_back_is_as_much_as_was_asked_for(queue: Queue[Any]) -> None:
    queue.push_many([1, 2, 3])
    queue.claim_many(3, claim_key="task", claimed_by="try 1")

    again = queue.claim_many(2, claim_key="task", claimed_by="try 2")

    assert len(again) == 2


def test_consume_acks_and_releases_where_the_claim_is_from(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)

    for _ in range(8):
        with queue.consume() as claim:
            assert claim is not None
    with pytest.raises(ValueError, match="no"), queue.consume() as claim:
        raise ValueError("no")

    counts = queue.counts()
    assert (counts.consumed, counts.available) == (8, 32)


def test_a_block_works_on_claims_of_several_parts(queue: Queue[Any]) -> None:
    for number in range(4):
        queue.push(number)

    with queue.working_on(everything(queue)):
        pass

    assert queue.counts().consumed == 4


def test_consume_many_yields_a_batch(queue: Queue[Any]) -> None:
    queue.push_many([1, 2, 3])

    with queue.consume_many(10) as claims:
        assert [claim.payload for claim in claims] == [1, 2, 3]

    assert queue.counts().consumed == 3


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_stream_yields_all_parts_and_acks_them(queue: Queue[Any], batch: int) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)

    found = sorted(claim.payload for claim in queue.stream(batch=batch))

    assert found == list(range(40))
    assert queue.counts().consumed == 40


def test_another_retry_keeps_the_level_of_the_log(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    with Queue("orders", places) as queue, caplog.at_level(logging.WARNING, "xclaim"):
        queue._queue.log_level = logging.WARNING  # as of a queue in a task of Airflow
        queue.push(1)

        with queue.consume(retry=Retry(max_attempts=2)) as claim:
            assert claim is not None

    acked = [each for each in caplog.messages if "acked message" in each]
    assert len(acked) == 1


def test_a_stream_that_is_left_hands_back(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)

    stream: Any = queue.stream(batch=3)
    for _ in range(5):
        next(stream)
    stream.close()

    counts = queue.counts()
    assert (counts.consumed, counts.claimed) == (4, 0)


def test_waiting_ends_when_a_part_has_something(places: Places, opened: Open) -> None:
    queue = opened(places, notify=True)
    queue.push(1)

    assert claimed(queue, wait=timedelta(seconds=30)).payload == 1
    assert queue.claim(wait=timedelta(seconds=0.1)) is None


def test_dead_letters_stay_in_their_part_and_come_back_from_all(
    places: Places, queue: Queue[Any], opened: Open
) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS, max_attempts=1)
    for claim in everything(queue):
        queue.release(claim, error="no")
    letters = opened(places, "orders.dead")

    assert queue.counts().dead_letters == 40
    assert parts_of(letters.peek(100)) == {f"{part}.dead" for part in ALL_PARTS}
    assert queue.redrive(limit=15, dry_run=True) == 15
    assert queue.redrive(limit=15) == 15
    assert letters.redrive() == 25
    assert queue.counts().available == 40


def test_dead_letters_of_all_parts_come_back_at_a_rate(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS, max_attempts=1)
    for claim in everything(queue):
        queue.release(claim, error="boom")

    assert queue.redrive(rate=200, older_than=timedelta(0)) == 40
    assert queue.counts().available == 40


def test_keys_are_found_and_withdrawn(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)

    assert sorted(message.payload for message in queue.find(KEYS[:10])) == list(range(10))
    assert queue.withdraw(KEYS[:10]) == 10
    assert queue.counts().available == 30


def test_peek_shows_the_next_of_all_parts(queue: Queue[Any]) -> None:
    for number in range(8):
        queue.push(number, priority=number)

    assert [message.priority for message in queue.peek(3)] == [7, 6, 5]
    assert queue.newest_available_at() is not None


def test_failing_messages_are_those_of_all_parts(places: Places, opened: Open) -> None:
    queue = opened(places, retry=AT_ONCE)
    for number in range(4):
        queue.push(number)
    for claim in everything(queue):
        queue.release(claim, error="no", delay=timedelta(hours=claim.payload + 1))

    assert [message.payload for message in queue.failing(3)] == [0, 1, 2]


def test_upkeep_is_of_all_parts(queue: Queue[Any]) -> None:
    queue.push_many(list(range(40)), unique_keys=KEYS)
    lapsed = everything_with(queue, timedelta(0))

    assert queue.expire() == len(lapsed) == 40
    queue.ack_many(everything(queue))
    assert queue.prune(older_than=timedelta(0), dry_run=True) == 40
    assert queue.prune(older_than=timedelta(0), limit=15) == 15
    assert queue.prune(older_than=timedelta(0)) == 25


def lapsed(queue: Queue[Any]) -> None:
    queue.claim_many(3, lease=timedelta(0))


def consumed(queue: Queue[Any]) -> None:
    queue.ack_many(queue.claim_many(3))


def dead(queue: Queue[Any]) -> None:
    for claim in queue.claim_many(3):
        queue.release(claim, error="no")


UPKEEP: dict[str, tuple[Callable[[Queue[Any]], None], Callable[..., int]]] = {
    "expire": (lapsed, lambda queue, limit: queue.expire(limit=limit)),
    "prune": (consumed, lambda queue, limit: queue.prune(older_than=timedelta(0), limit=limit)),
    "redrive": (dead, lambda queue, limit: queue.redrive(limit=limit)),
}


@pytest.mark.parametrize("limit", [5, None])
@pytest.mark.parametrize("name", UPKEEP)
def test_upkeep_is_done_where_it_can_be(
    two_files: Places, opened: Open, name: str, limit: int | None
) -> None:
    _, rest = two_files
    make, upkeep = UPKEEP[name]
    queue = opened(split(NOWHERE, rest.url), reconnect=timedelta(0))
    with Queue("orders.3", two_files, retry=AT_ONCE) as part:
        part.push_many([1, 2, 3], max_attempts=1 if name == "redrive" else None)
        make(part)

        with pytest.raises(OperationalError, match="refused") as raised:
            upkeep(queue, limit)

        assert f"xclaim: {name} in the other places: 3 messages" in raised.value.__notes__
        assert upkeep(part, None) == 0


@pytest.mark.parametrize("name", UPKEEP)
def test_upkeep_up_to_a_limit_needs_no_place_that_is_away(
    two_files: Places, opened: Open, name: str
) -> None:
    _, rest = two_files
    make, upkeep = UPKEEP[name]
    queue = opened(split(NOWHERE, rest.url), reconnect=timedelta(0))
    with Queue("orders.3", two_files, retry=AT_ONCE) as part:
        part.push_many([1, 2, 3], max_attempts=1 if name == "redrive" else None)
        make(part)

        assert upkeep(queue, 2) == 2
        assert upkeep(part, None) == 1


def everything_with(queue: Queue[Any], lease: timedelta) -> list[Claim[Any]]:
    """Claim each message once, for no time."""
    return [claim for _ in range(4) for claim in queue.claim_many(100, lease=lease)]


def test_a_pause_is_of_all_parts(places: Places, queue: Queue[Any]) -> None:
    queue.push(1)
    assert queue.paused() is None

    queue.pause(reason="why not")

    paused = queue.paused()
    assert paused is not None
    assert paused.reason == "why not"
    with Queue("orders.0", places) as part:
        part.unpause()
    assert queue.paused() is None  # one part hands out
    assert queue.unpause()
    assert not queue.unpause()


def test_a_ticket_is_resumed_in_its_part(queue: Queue[Any]) -> None:
    queue.push_many([1, 2])
    ticket = Ticket.of(queue.claim_many(2, claim_key="a", claimed_by="one"))

    claims = queue.resume(ticket, claim_key="b", claimed_by="two")

    assert [claim.payload for claim in claims] == [1, 2]
    with pytest.raises(InvalidArgumentError, match="'parcels'"):
        queue.resume(Ticket(queue="parcels", claim_key="a", claimed_by="one"))


@pytest.mark.parametrize(
    ("refused", "because"),
    [
        (lambda queue: queue.get(1), "an id is known to one part"),
        (lambda queue: queue.failures(1), "an id is known to one part"),
        (lambda queue: queue.claim_message(1), "an id is known to one part"),
        (lambda queue: queue.withdraw(ids=[1]), "an id is known to one part"),
        (lambda queue: queue.redrive(ids=[1]), "an id is known to one part"),
        (lambda queue: queue.redrive(to="others"), "no message leaves its place"),
        (lambda queue: queue.transact().__enter__(), "a transaction is in one database"),
    ],
)
def test_what_is_about_one_database_is_refused(
    queue: Queue[Any], refused: Callable[[Queue[Any]], object], because: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=because):
        refused(queue)


def test_a_part_is_a_queue_of_its_own(places: Places, queue: Queue[Any]) -> None:
    message = queue.push(1, unique_key="a")

    with Queue(message.queue, places) as part:
        assert part.get(message.id) == message


def test_a_place_that_is_away_is_left_out(two_files: Places, opened: Open) -> None:
    first, _ = two_files
    queue = opened(split(first.url, NOWHERE))
    with Queue("orders.1", two_files) as part:
        part.push_many([1, 2])

    assert [claimed(queue).payload for _ in range(2)] == [1, 2]
    assert queue.claim() is None
    assert queue.claim(claim_key="a") is None


def drained_by_stream(queue: Queue[Any], worked_on: list[Any]) -> None:
    worked_on += (claim.payload for claim in queue.stream(batch=2))


def drained_by_blocks(queue: Queue[Any], worked_on: list[Any]) -> None:
    while True:
        with queue.consume_many(2) as claims:
            worked_on += (claim.payload for claim in claims)
            if not claims:
                return


def drained_one_by_one(queue: Queue[Any], worked_on: list[Any]) -> None:
    while True:
        with queue.consume() as claim:
            if claim is None:
                return
            worked_on.append(claim.payload)


DRAINED = [drained_by_stream, drained_by_blocks, drained_one_by_one]


@pytest.mark.parametrize("drained", DRAINED)
def test_a_loop_does_not_take_a_place_that_is_away_for_empty(
    two_files: Places, opened: Open, drained: Callable[[Queue[Any], list[Any]], None]
) -> None:
    first, _ = two_files
    queue = opened(split(first.url, NOWHERE), reconnect=timedelta(0))
    with Queue("orders.1", two_files) as part:
        part.push_many([1, 2, 3])
    worked_on: list[Any] = []

    with pytest.raises(OperationalError, match="refused"):
        drained(queue, worked_on)

    assert sorted(worked_on) == [1, 2, 3]
    with Queue("orders.1", two_files) as part:
        assert part.counts().consumed == 3


@contextmanager
def failing(place: Place, state: str) -> Iterator[None]:
    """Let the server of a place fail twice with a SQLSTATE, and then be as it was."""
    run, left = Part.run, [state] * 2

    def fail(connection: Connection, *_: Any, **__: Any) -> NoReturn:
        connection.exec_driver_sql(f"DO $$BEGIN RAISE SQLSTATE '{left.pop()}'; END$$")
        raise AssertionError

    def run_or_fail(part: Part, verb: Verb[Any], *given: Any, **options: Any) -> Any:
        fails = part.place == place.name and left
        return run(part, Verb(function=fail) if fails else verb, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Part, "run", run_or_fail)
        yield
    assert not left


@pytest.mark.parametrize("drained", DRAINED)
@pytest.mark.parametrize("state", ["57P03", "40P01", "40001", "53300"])
def test_a_loop_goes_on_when_the_place_is_as_it_was(
    two_schemas: Places,
    opened: Open,
    drained: Callable[[Queue[Any], list[Any]], None],
    state: str,
) -> None:
    _, rest = two_schemas
    queue = opened(two_schemas)
    with Queue("orders.3", two_schemas) as part:
        part.push_many([1, 2, 3])
    worked_on: list[Any] = []

    with failing(rest, state):
        drained(queue, worked_on)

    assert sorted(worked_on) == [1, 2, 3]


@pytest.mark.parametrize("state", ["40P01", "40001", "53300"])
def test_a_server_that_is_there_does_not_rest(
    two_schemas: Places, opened: Open, state: str
) -> None:
    _, rest = two_schemas
    queue = opened(two_schemas)
    with Queue("orders.3", two_schemas) as part:
        part.push(1)

    with failing(rest, state):
        for _ in range(2):
            with pytest.raises(DBAPIError):
                queue.claim()

    assert claimed(queue).payload == 1


def test_without_any_place_the_error_is_raised(opened: Open) -> None:
    queue = opened(split(NOWHERE, NOWHERE), reconnect=timedelta(0))

    for _ in range(2):
        with pytest.raises(OperationalError) as raised:
            queue.claim()
        assert "secret" not in str(raised.value.__notes__)


def test_a_push_that_fails_at_one_place_names_those_that_took_theirs(
    two_files: Places, opened: Open
) -> None:
    first, _ = two_files
    queue = opened(split(first.url, NOWHERE))
    of_first, of_rest = (
        [key for key in KEYS if (part_of(key, 4) < 2) is is_first] for is_first in (True, False)
    )

    with pytest.raises(OperationalError) as raised:
        queue.push_many([1] * 2, unique_keys=[of_first[0], of_rest[0]])

    assert any(
        "1 of 2 messages were pushed before this, to orders." in note and "'first'" in note
        for note in raised.value.__notes__
    )
    with Queue("orders.0", two_files) as zero, Queue("orders.1", two_files) as one:
        assert zero.counts().available + one.counts().available == 1


def test_what_was_left_out_of_a_full_part_is_not_told_as_pushed(
    two_files: Places, opened: Open
) -> None:
    first, _ = two_files
    queue = opened(split(first.url, NOWHERE))
    zero, one, *_, away = sorted(KEYS, key=lambda key: part_of(key, 4))
    assert [part_of(key, 4) for key in (zero, one, away)] == [0, 0, 3]
    with Queue("orders.0", two_files) as full:
        full.push("there")

    with pytest.raises(OperationalError) as raised:
        queue.push_many([1] * 3, unique_keys=[zero, one, away], max_backlog=1, on_full="skip")

    assert not any("were pushed before this" in note for note in raised.value.__notes__)


def test_pushes_without_a_key_avoid_a_place_that_is_away(two_files: Places, opened: Open) -> None:
    first, _ = two_files
    queue = opened(split(first.url, NOWHERE))
    assert queue.claim() is None  # and has seen who is away

    assert parts_of([queue.push(number) for number in range(4)]) == {"orders.0", "orders.1"}


def test_who_waits_for_room_waits_also_while_a_place_is_away(
    two_files: Places, opened: Open
) -> None:
    first, _ = two_files
    key = next(key for key in KEYS if part_of(key, 4) == 0)
    for number in range(2):
        with Queue(f"orders.{number}", two_files) as full:
            full.push("there")
    queue = opened(split(first.url, NOWHERE))

    with pytest.raises(QueueFullError) as raised:
        queue.push(1, unique_key=key, max_backlog=1, on_full="wait", wait=timedelta(seconds=0.5))

    assert any("waited 0:00:00.5" in note for note in raised.value.__notes__)


@pytest.mark.parametrize("urls", [("first", NOWHERE), (NOWHERE, "first")], ids=str)
def test_there_is_room_where_a_place_says_so_whoever_is_away(
    two_files: Places, urls: tuple[str, str]
) -> None:
    first, _ = two_files
    there = [first.url if url == "first" else url for url in urls]

    with Queue("orders", split(*there)) as queue:
        assert queue._queue.run(verbs.HAS_ROOM, 1, max_backlog=1)
    with Queue("orders", split(NOWHERE, NOWHERE)) as queue, pytest.raises(OperationalError):
        queue._queue.run(verbs.HAS_ROOM, 1, max_backlog=1)


def test_sums_are_not_made_without_a_place(two_files: Places, opened: Open) -> None:
    first, _ = two_files
    queue = opened(split(first.url, NOWHERE))

    with pytest.raises(OperationalError):
        queue.counts()


def test_a_split_queue_says_where_it_is(two_files: Places) -> None:
    with Queue("orders", two_files) as queue:
        assert repr(queue) == "Queue('orders', '4 parts in first, rest')"


@pytest.mark.parametrize(
    "parts", [3, {"orders": 0}, {"orders": 1001}, {"orders": True}, {"orders.dead": 2}, {"": 2}]
)
def test_wrong_parts_are_refused(parts: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        Places([Place(name="first", queues=["*"], url="sqlite://")], parts=parts)


def test_parts_without_a_place_are_refused() -> None:
    places = Places([Place(name="first", queues=["orders.0"], url=NOWHERE)], parts={"orders": 2})

    with pytest.raises(InvalidArgumentError, match=r"'orders\.1' is in no place"):
        Queue("orders", places)


def test_a_file_says_how_many_parts_there_are(tmp_path: Path) -> None:
    file = tmp_path / "places.toml"
    file.write_text("[north]\nqueues = ['*']\nurl = 'sqlite://'\n[parts]\norders = 2\n")

    places = Places.from_file(file)

    assert places.parts_of("orders") == ["orders.0", "orders.1"]
    assert places.parts_of("orders.dead") == ["orders.0.dead", "orders.1.dead"]
    assert places.parts_of("orders.0") == []
    with pytest.raises(InvalidArgumentError, match="split into 2 parts"):
        places.of("orders")
