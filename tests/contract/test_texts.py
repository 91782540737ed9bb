"""Texts that a database cannot hold: each verb says so before it changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from tests.contract.facades import Facade
from tests.databases import temporary_database
from xclaim import InvalidArgumentError, Queue
from xclaim.operations import audit, by_hand, capabilities, doctor, grants, migrate, ordering

# Each makes a database of its own, in an encoding.
pytestmark = pytest.mark.usefixtures("postgresql_server")

HELD = "naïve café"
NOT_HELD = f"{HELD} ☃"
Say = Callable[[Queue, str], object]


# Of each verb each text that it takes, but for what it writes with escapes.
TEXTS: dict[str, Say] = {
    "push unique_key": lambda queue, text: queue.push(1, unique_key=text),
    "push ordering_key": lambda queue, text: queue.push(1, ordering_key=text),
    "push_many unique_keys": lambda queue, text: queue.push_many([1], unique_keys=[text]),
    "push_many ordering_keys": lambda queue, text: queue.push_many([1], ordering_keys=[text]),
    "claim claimed_by": lambda queue, text: queue.claim(claimed_by=text),
    "claim claim_key": lambda queue, text: queue.claim(claimed_by="me", claim_key=text),
    "claim_many claimed_by": lambda queue, text: queue.claim_many(2, claimed_by=text),
    "claim_many claim_key": lambda queue, text: queue.claim_many(
        2, claimed_by="me", claim_key=text
    ),
    "claim_message claimed_by": lambda queue, text: queue.claim_message(1, claimed_by=text),
    "claim_message claim_key": lambda queue, text: queue.claim_message(
        1, claimed_by="me", claim_key=text
    ),
    "stream claimed_by": lambda queue, text: list(queue.stream(claimed_by=text)),
    "find": lambda queue, text: queue.find([text]),
    "withdraw": lambda queue, text: queue.withdraw([text]),
    "redrive to": lambda queue, text: queue.redrive(to=text),
    "redrive error": lambda queue, text: queue.redrive(error=text),
    "pause reason": lambda queue, text: queue.pause(reason=text),
    "pause by": lambda queue, text: queue.pause(by=text),
}
# Of a queue of this name.
VERBS: dict[str, Callable[[Queue], object]] = {
    "push": lambda queue: queue.push(1),
    "claim": lambda queue: queue.claim(),
    "claim_many": lambda queue: queue.claim_many(2),
    "claim_message": lambda queue: queue.claim_message(1),
    "consume": lambda queue: queue.consume().__enter__(),
    "stream": lambda queue: list(queue.stream()),
    "expire": lambda queue: queue.expire(),
    "redrive": lambda queue: queue.redrive(),
    "prune": lambda queue: queue.prune(older_than=timedelta(0)),
    "withdraw": lambda queue: queue.withdraw(["key"]),
    "peek": lambda queue: queue.peek(),
    "get": lambda queue: queue.get(1),
    "find": lambda queue: queue.find(["key"]),
    "failing": lambda queue: queue.failing(),
    "failures": lambda queue: queue.failures(1),
    "counts": lambda queue: queue.counts(),
    "newest_available_at": lambda queue: queue.newest_available_at(),
    "pause": lambda queue: queue.pause(),
    "paused": lambda queue: queue.paused(),
    "unpause": lambda queue: queue.unpause(),
    "limit": lambda queue: queue.limit(concurrency=2),
    "limits": lambda queue: queue.limits(),
    "limit_backlog": lambda queue: queue.limit_backlog(max_backlog=2),
    "backlog": lambda queue: queue.backlog(),
}


@pytest.fixture(scope="module")
def _latin1_url(postgresql_server: str) -> Iterator[str]:
    with temporary_database(postgresql_server, encoding="LATIN1") as url:
        migrate.upgrade(url)
        ordering.enable(url)
        yield url


@pytest.fixture(params=["latin1", "sqlite"])
def contract_url(request: pytest.FixtureRequest) -> str:
    names = {"latin1": "_latin1_url", "sqlite": "sqlite_url"}
    return str(request.getfixturevalue(names[request.param]))


in_latin1 = pytest.mark.parametrize("contract_url", ["latin1"], indirect=True)
refused = pytest.raises(InvalidArgumentError, match=r"☃.*ENCODING 'UTF8'")


@in_latin1
@pytest.mark.parametrize("taken", TEXTS)
def test_a_text_that_the_database_cannot_hold_is_refused(queue: Queue, taken: str) -> None:
    TEXTS[taken](queue, HELD)
    queue.unpause()
    before = queue.counts()

    with refused:
        TEXTS[taken](queue, NOT_HELD)

    assert queue.counts() == before
    assert queue.paused() is None


@in_latin1
@pytest.mark.parametrize("taken", [taken for taken in TEXTS if "stream" not in taken])
def test_it_ends_no_transaction_of_the_caller(facade: Facade, name: str, taken: str) -> None:
    with facade.in_transaction(name) as queue:
        queue.push("before")
        with refused:
            TEXTS[taken](queue, NOT_HELD)
        queue.push("after")

    assert facade.queue(name).counts().available == 2


@in_latin1
@pytest.mark.parametrize("verb", VERBS)
def test_so_is_the_name_of_a_queue(facade: Facade, name: str, verb: str) -> None:
    queue = facade.queue(f"{name} {NOT_HELD}")

    with refused:
        VERBS[verb](queue)
    with refused, facade.in_transaction(f"{name} {NOT_HELD}") as joined:
        joined.counts()


@in_latin1
def test_the_error_names_the_text_and_the_letters(queue: Queue) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        queue.claim(claimed_by=f"{HELD} ☃ 日本")

    assert str(caught.value) == (
        f"claimed_by '{HELD} ☃ 日本' has letters that the database would not give back, because "
        "it is in LATIN1 (☃ 日 本): create it with ENCODING 'UTF8'"
    )


@in_latin1
def test_a_schema_is_refused(facade: Facade, engine: Engine, name: str) -> None:
    works: list[Callable[..., object]] = [
        migrate.upgrade,
        migrate.current,
        ordering.enable,
        ordering.disable,
        audit.audit,
        doctor.examine,
        by_hand.held,
    ]

    with refused:
        facade.queue(name, schema="☃").push(1)
    for work in works:
        with refused:
            work(engine, schema="☃")


@in_latin1
def test_a_role_and_a_capability_are_refused(engine: Engine) -> None:
    with engine.connect() as connection:
        with refused:
            grants.plan(connection, "producer", "☃")
        with refused:
            grants.plan(connection, "producer", "somebody", queues=["☃"])
        with refused:
            capabilities.plan(connection, "☃", "orders", ["claim"])
        with refused:
            capabilities.plan(connection, "packing", "☃", ["claim"])
        with refused:
            capabilities.plan(connection, "packing", "orders", ["claim"], to=["☃"])
        with refused:
            capabilities.plan_drop(connection, "☃")


@in_latin1
def test_a_queue_is_refused_by_what_operators_run(engine: Engine) -> None:
    with refused:
        audit.audit(engine, queue="☃")
    with refused:
        by_hand.held(engine, "☃")
    with refused:
        by_hand.withdraw(engine, "☃", [1])


@in_latin1
def test_an_ordering_key_with_two_leaders_is_refused_by_its_name(engine: Engine, name: str) -> None:
    with engine.begin() as connection:  # what the tests before have left
        connection.execute(text("DELETE FROM xclaim_message"))
    queue = Queue(name, engine)
    ordering.disable(engine)
    pushed = queue.push_many([1, 2])
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET ordering_key = :key WHERE id = ANY (:ids)"),
            {"key": HELD, "ids": [message.id for message in pushed]},
        )

    with pytest.raises(InvalidArgumentError, match=f"ordering key '{HELD}'"):
        ordering.enable(engine)

    queue.withdraw(ids=[message.id for message in pushed])
    assert ordering.enable(engine)


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"], ids=ascii)
@pytest.mark.parametrize("taken", TEXTS)
def test_no_text_has_a_nul_or_half_a_character(queue: Queue, taken: str, bad: str) -> None:
    with pytest.raises(InvalidArgumentError):
        TEXTS[taken](queue, bad)
    assert queue.counts().available == 0
