"""No row can stop a verb: it does for the others what it always does."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from tests.contract.facades import Facade
from tests.hostile import rows
from tests.retrying import AT_ONCE
from xclaim import Claim, ClaimLostError, Message, PayloadReadError, Queue, Ticket
from xclaim.errors import XclaimError
from xclaim.operations import by_hand

NOW = timedelta(0)
KEYS = ["a", "b", "c"]  # of the innocents
IDS = [(database, name) for database, written in rows.ON.items() for name in written]
# How rows are read through each facade is for who looks and who claims: these send the same.
THROUGH_ONE = pytest.mark.parametrize("facade", ["sync"], indirect=True)


@pytest.fixture
def hostile(engine: Engine, database: str, name: str) -> rows.Row:
    row = rows.ON[database][name]
    with engine.begin() as connection:
        row.write(connection)
    return row


@pytest.fixture
def queue(facade: Facade, hostile: rows.Row) -> Queue:  # noqa: ARG001  (it is there first)
    queue = facade.queue("hostile", retry=AT_ONCE)
    queue.push_many(["innocent"] * len(KEYS), unique_keys=KEYS)
    return queue


def everything(queue: Queue, dead_letters: Queue) -> list[Message]:
    """Return all that the verbs that only look find, by whatever way."""
    ids = [1, 2, 3, 4, 9223372036854775806]
    found = [looked_at.get(id_) for looked_at in (queue, dead_letters) for id_ in ids]
    seen = [message for message in found if message is not None]
    for looked_at in (queue, dead_letters):
        seen += [*looked_at.peek(9), *looked_at.failing(9), *looked_at.find(KEYS)]
    return seen


def check(message: Message, row: rows.Row) -> None:
    """Assert that a message is read, or says why not, and travels as it is."""
    is_innocent = message.unique_key in KEYS
    if is_innocent or row.is_read:
        assert message.headers == {}
        assert message.payload == ("innocent" if is_innocent else 1)
    else:
        with pytest.raises(PayloadReadError) as raised:
            _ = message.headers, message.payload
        assert raised.value.message_id == message.id
    assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301  (our own)
    assert Message.from_dict(json.loads(json.dumps(message.to_dict()))) == message
    for hours in (-23, 23):
        message.created_at.astimezone(timezone(timedelta(hours=hours)))
    assert isinstance(message.available_at, datetime)
    assert "innocent" not in repr(message)


@pytest.mark.parametrize(("database", "name"), IDS)
def test_who_looks_sees_every_message(facade: Facade, queue: Queue, hostile: rows.Row) -> None:
    dead_letters = facade.queue("hostile.dead", retry=AT_ONCE)

    seen = everything(queue, dead_letters)

    assert {message.unique_key for message in seen} >= set(KEYS)
    for message in seen:
        check(message, hostile)
        queue.failures(message.id)
    assert queue.counts().available >= len(KEYS)
    assert queue.newest_available_at() is not None


@pytest.mark.parametrize(("database", "name"), IDS)
def test_a_row_costs_no_other_message(queue: Queue, hostile: rows.Row) -> None:
    claims = claimed_all(queue)
    for claim in claims:
        check(claim.message, hostile)
    innocent = [claim for claim in claims if claim.message.unique_key in KEYS]
    others = [claim for claim in claims if claim.message.unique_key not in KEYS]
    for claim in others:
        queue.extend(claim)
        assert Claim.from_dict(json.loads(json.dumps(claim.to_dict()))) == claim
        queue.release(claim, error=ValueError("not mine"))
    queue.extend_many(innocent)
    queue.ack_many(innocent)

    assert {message.attempts for message in queue.find(KEYS)} == {1}
    assert queue.counts().consumed >= len(KEYS)
    tidied_up(queue)


def claimed_all(queue: Queue) -> list[Claim[Any]]:
    """Claim and expire until there is no more; each message once."""
    claims: dict[int, Claim[Any]] = {}
    while True:
        queue.expire()
        found = [claim for claim in queue.claim_many(9) if claim.message.id not in claims]
        claims |= {claim.message.id: claim for claim in found}
        if not found:
            return list(claims.values())


def tidied_up(queue: Queue) -> None:
    """Run what looks after a queue, and leave nothing that can be had away."""
    queue.redrive()
    for claim in queue.claim_many(9):
        queue.release(claim, count=False)
    queue.prune(older_than=NOW)
    queue.withdraw(KEYS)
    queue.withdraw(ids=[1, 2, 3, 4, 9223372036854775806])
    assert queue.find(KEYS) == []


@THROUGH_ONE
@pytest.mark.parametrize(("database", "name"), IDS)
def test_a_retry_and_a_ticket_take_over_what_is_there(
    queue: Queue, hostile: rows.Row, engine: Engine
) -> None:
    queue.expire()
    first = queue.claim_many(9, claimed_by="try 1", claim_key="key")
    again = queue.claim_many(9, claimed_by="try 2", claim_key="key")
    resumed = queue.resume(Ticket.of(again), claimed_by="next", claim_key="other")

    # What has had all its attempts is left to be a dead letter.
    assert {claim.message.unique_key for claim in resumed} >= set(KEYS)
    assert len(resumed) <= len(again) <= len(first)
    for claim in resumed:
        check(claim.message, hostile)
        assert by_hand.receipt(engine, "hostile", claim.message.id).token == claim.token
        assert by_hand.held(engine)
        queue.release(claim, count=False)


@THROUGH_ONE
@pytest.mark.parametrize(("database", "name"), IDS)
def test_a_push_under_the_key_of_a_row_is_answered(
    engine: Engine, facade: Facade, database: str, name: str
) -> None:
    row = rows.ON[database][name]
    with engine.begin() as connection:
        row.write(connection, unique_key="'taken'")
    queue = facade.queue("hostile", retry=AT_ONCE)

    with suppress(XclaimError):  # it is the same, or another payload, or another queue's
        queue.push(1, unique_key="taken")

    assert queue.push("innocent", unique_key="a").payload == "innocent"


@THROUGH_ONE
@pytest.mark.parametrize(("database", "name"), IDS)
def test_whoever_holds_a_row_can_settle_it(engine: Engine, facade: Facade, name: str) -> None:
    row = rows.ON[engine.dialect.name][name]
    with engine.begin() as connection:
        row.write(connection)
    queue = facade.queue("hostile", retry=AT_ONCE)

    for message_id in (1, 9223372036854775806):
        with suppress(XclaimError):  # there is no such claim, or its token is none
            by_hand.ack(engine, by_hand.receipt(engine, "hostile", message_id))
    while claim := queue.claim():
        queue.ack(claim)
        with pytest.raises(ClaimLostError):
            queue.ack(claim)

    assert queue.claim() is None


@pytest.mark.parametrize("database", ["sqlite"])
def test_an_error_about_a_value_is_not_taken_for_a_table_that_does_not_fit(
    engine: Engine, facade: Facade
) -> None:
    queue = facade.queue("hostile")
    queue.push("innocent")
    with engine.begin() as connection:
        refuse = "CREATE TRIGGER refusing BEFORE UPDATE ON xclaim_message BEGIN"
        connection.exec_driver_sql(f"{refuse} SELECT json('{{oops'); END")

    try:
        with pytest.raises(OperationalError, match="malformed JSON"):
            queue.claim()
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER refusing")

    assert queue.claim() is not None
