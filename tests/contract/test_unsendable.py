"""Rows that PostgreSQL cannot send: in databases that are not in UTF-8, characters it lacks.

No other database has such rows, but for those whose text is longer than 1 GB.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet
from psycopg import sql
from sqlalchemy import Engine, event

from tests.contract.facades import Facade
from tests.databases import temporary_database
from tests.looks import patient_observer
from tests.retrying import AT_ONCE
from xclaim import (
    AfterAck,
    DuplicateMessageError,
    InvalidArgumentError,
    Message,
    PayloadCorruptedError,
    Payloads,
    Queue,
    Status,
    Ticket,
    create_engine,
)
from xclaim.cli.app import group
from xclaim.errors import FilterError
from xclaim.operations import ordering
from xclaim.operations.audit import audit
from xclaim.operations.by_hand import held
from xclaim.operations.doctor import examine
from xclaim.operations.grants import Kind, plan
from xclaim.operations.migrate import upgrade
from xclaim.operations.rotation import rotate_keys

# Bytes that the encoding takes, and that have no counterpart in UTF-8.
BYTES = {"WIN1251": b"\x98", "EUC_JP": b"\xa9\xa1"}
PAST = "2020-01-01 00:00:00+00"
CLAIMED = {
    "status": "claimed",
    "attempts": 1,
    "claimed_at": PAST,
    "claim_token": "00000000-0000-0000-0000-000000000001",
}
NOT_LAPSED = {"claim_expires_at": "2999-01-01 00:00:00+00"}
CONSUMED = {
    "status": "consumed",
    "attempts": 1,
    "claimed_at": PAST,
    "consumed_at": PAST,
    "consumed_by": "me",
}
# As text more than 1 GB; as jsonb a thousandth of that.
HUGE = "[" + ",".join(["1e131071"] * 8_300) + "]"
NO_COUNTERPART = "no counterpart in UTF-8"


@pytest.fixture(scope="module", params=BYTES)
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def _encoded_url(postgresql_server: str, encoding: str) -> Iterator[str]:
    with temporary_database(postgresql_server, encoding=encoding) as url:
        upgrade(url)
        yield url


@pytest.fixture
def contract_url(_encoded_url: str) -> str:
    return _encoded_url


Put = Callable[..., int]


@pytest.fixture
def put(contract_url: str, name: str, encoding: str) -> Put:
    """Write a row as a program that speaks the encoding of the database; ``?`` is the character."""

    def insert(role: str | None = None, **columns: Any) -> int:
        given = {"queue": name, "origin_queue": name, "payload": '"?"', "created_at": PAST}
        values: dict[str, Any] = {**given, "available_at": PAST, **columns}
        statement = sql.SQL("INSERT INTO xclaim_message ({}) VALUES ({}) RETURNING id").format(
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Literal, values.values())),
        )
        address = contract_url.replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True, client_encoding=encoding) as connection:
            if role is not None:
                connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            sent = statement.as_string(connection).encode("ascii").replace(b"?", BYTES[encoding])
            result = connection.pgconn.exec_(sent)
            assert result.status == psycopg.pq.ExecStatus.TUPLES_OK, result.error_message
            return int(result.get_value(0, 0) or b"")

    return insert


def ack_the_first_and_claim(queue: Queue) -> list[Any]:
    return [claim.payload for claim in queue.stream()]


def claim(queue: Queue) -> list[Any]:
    return [claim.payload for claim in iter(queue.claim, None)]


def claim_with_a_key(queue: Queue) -> list[Any]:
    return [claim.payload for claim in queue.claim_many(9, claim_key="task", claimed_by="1")]


def claim_many(queue: Queue) -> list[Any]:
    return [claim.payload for claim in queue.claim_many(9)]


WAYS = [claim, claim_with_a_key, claim_many, ack_the_first_and_claim]


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_sent_is_set_aside_and_the_others_are_claimed(
    queue: Queue, dead_letters: Queue, put: Put, way: Callable[[Queue], list[Any]]
) -> None:
    queue.push("first")
    bad = [
        put(),
        put(payload="1", headers='{"?": 1}'),
        put(payload="1", unique_key="?", priority=3),
    ]
    queue.push_many(["second", "third"])

    assert sorted(way(queue)) == ["first", "second", "third"]

    dead = dead_letters.peek(9)
    assert sorted(letter.id for letter in dead) == bad
    assert {letter.attempts for letter in dead} == {1}
    assert all(NO_COUNTERPART in str(letter.last_error) for letter in dead)
    assert {letter.last_error_class for letter in dead} == {"xclaim.errors.PayloadCorruptedError"}


@pytest.mark.parametrize("after", AfterAck)
def test_an_ack_with_a_claim_is_done_as_well(
    facade: Facade, name: str, put: Put, after: AfterAck
) -> None:
    queue = facade.queue(name, retry=AT_ONCE, payloads=Payloads(after_ack=after))
    queue.push_many(["first", "second"])
    seen: list[Any] = []

    for claimed in queue.stream(batch=1):
        seen.append(claimed.payload)
        put(priority=5)

    assert seen == ["first", "second"]
    counts = queue.counts()
    assert (counts.available, counts.consumed, counts.dead_letters) == (0, 2, 2)


def test_a_message_that_cannot_be_sent_is_not_claimed_by_its_id(
    queue: Queue, put: Put, dead_letters: Queue
) -> None:
    id_ = put()

    assert queue.claim_message(id_) is None

    assert [letter.id for letter in dead_letters.peek()] == [id_]


def test_the_failure_is_kept_and_names_no_text_of_the_message(queue: Queue, put: Put) -> None:
    id_ = put()

    assert queue.claim(claimed_by="me") is None

    (failure,) = queue.failures(id_)
    assert (failure.attempt, failure.claimed_by) == (1, "me")
    assert failure.error == (
        f"message {id_} cannot be claimed: its text has a character that has {NO_COUNTERPART}"
    )


def test_what_an_earlier_attempt_holds_and_cannot_be_sent_is_set_aside(
    queue: Queue, put: Put
) -> None:
    id_ = put(**CLAIMED, **NOT_LAPSED, claimed_by="1", claim_key="task")
    queue.push("next")

    claimed = queue.claim(claim_key="task", claimed_by="2")

    assert claimed is not None
    assert claimed.payload == "next"
    left = queue.get(id_)
    assert left is not None
    assert (left.is_dead_letter, left.claim_key, left.attempts) == (True, "task", 2)


def test_of_a_ticket_the_rest_is_resumed(queue: Queue, put: Put) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(2, claim_key="first", claimed_by="1")
    id_ = put(**CLAIMED, **NOT_LAPSED, claimed_by="1", claim_key="first")

    resumed = queue.resume(Ticket.of(claims), claim_key="second", claimed_by="2")

    assert sorted(claim.payload for claim in resumed) == [1, 2]
    message = queue.get(id_)
    assert message is not None
    assert message.is_dead_letter


def test_a_dead_letter_that_cannot_be_sent_rests_where_dead_letters_are_claimed(
    queue: Queue, dead_letters: Queue, put: Put
) -> None:
    put(queue=dead_letters.name)
    put(queue=dead_letters.name, payload='"fine"')

    claims = dead_letters.claim_many(9)

    assert [claim.payload for claim in claims] == ["fine"]
    assert dead_letters.claim() is None
    assert queue.redrive() == 1


def test_a_sweep_sets_aside_nothing_and_the_claim_after_it_does(queue: Queue, put: Put) -> None:
    put(**CLAIMED, claim_expires_at=PAST, claimed_by="?")
    put(**CLAIMED | {"claim_token": "00000000-0000-0000-0000-000000000002"}, payload='"fine"',
        claim_expires_at=PAST, claimed_by="1")  # fmt: skip

    assert queue.expire() == 2

    claimed = queue.claim_many(9)
    assert [claim.payload for claim in claimed] == ["fine"]


def test_in_a_transaction_the_error_says_what_to_do(
    facade: Facade, queue: Queue, name: str, put: Put
) -> None:
    put()
    queue.push("fine")

    with (
        pytest.raises(PayloadCorruptedError, match=f"{name}.* {NO_COUNTERPART}.*outside"),
        facade.in_transaction(name) as joined,
    ):
        joined.claim()

    assert [claim.payload for claim in queue.claim_many(9)] == ["fine"]


def test_in_a_transaction_a_message_that_was_asked_for_by_id_is_named(
    facade: Facade, name: str, put: Put
) -> None:
    id_ = put()
    named = f"message {id_} in '{name}'"

    with (
        pytest.raises(PayloadCorruptedError, match=named),
        facade.in_transaction(name) as joined,
    ):
        joined.claim_message(id_)
    with (
        pytest.raises(PayloadCorruptedError, match=named),
        facade.in_transaction(name) as joined,
    ):
        joined.get(id_)


def test_a_claimant_whom_the_database_cannot_hold_sets_nothing_aside(
    queue: Queue, facade: Facade, name: str
) -> None:
    queue.push("fine")

    with pytest.raises(InvalidArgumentError, match="claimed_by"):
        queue.claim(claimed_by="\N{SNOWMAN}")
    with (
        pytest.raises(InvalidArgumentError, match="claimed_by"),
        facade.in_transaction(name) as joined,
    ):
        joined.claim(claimed_by="\N{SNOWMAN}")

    assert queue.counts().available == 1


LOOKS: dict[str, Callable[[Queue, int], list[Message]]] = {
    "peek": lambda queue, _: queue.peek(9),
    "get": lambda queue, id_: [message for message in [queue.get(id_)] if message],
    "find": lambda queue, _: queue.find(["key"]),
    "failing": lambda queue, _: queue.failing(9),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_shows_what_it_can(queue: Queue, put: Put, look: str) -> None:
    id_ = put(unique_key="key", attempts=1, last_error="it failed: ?")

    (message,) = LOOKS[look](queue, id_)

    assert (message.id, message.unique_key, message.status) == (id_, "key", Status.AVAILABLE)
    assert str(message.last_error).startswith("it failed: ")
    with pytest.raises(PayloadCorruptedError, match=f"message {id_} .*{NO_COUNTERPART}"):
        _ = message.payload
    with pytest.raises(PayloadCorruptedError, match="headers"):
        _ = message.headers
    assert set(message.to_dict()["unreadable"]) == {"payload", "headers"}


def test_a_look_at_many_shows_the_others_as_they_are_in_their_order(queue: Queue, put: Put) -> None:
    put(payload='"oldest"')
    bad = put()
    queue.push_many(list(range(70)))

    oldest, unreadable, *others = queue.peek(99)

    assert oldest.payload == "oldest"
    assert unreadable.id == bad
    assert [message.payload for message in others] == list(range(70))


def test_failures_that_cannot_be_sent_are_as_those_that_cannot_be_read(
    queue: Queue, put: Put
) -> None:
    id_ = put(payload="1", failures='[{"error": "?"}]')

    assert queue.failures(id_) == []


def test_a_key_of_what_cannot_be_sent_is_taken(queue: Queue, put: Put) -> None:
    put(unique_key="taken")

    with pytest.raises(DuplicateMessageError, match="taken"):
        queue.push_many([1, 2], unique_keys=["free", "taken"])

    assert queue.find(["free"]) == []
    assert queue.push("again", unique_key="free").payload == "again"


def test_of_the_same_payload_what_is_there_is_returned(queue: Queue, put: Put) -> None:
    id_ = put(payload="1", headers='{"?": 1}', unique_key="taken")

    new, known = queue.push_many([2, 1], unique_keys=["new", "taken"])

    assert (new.payload, known.id) == (2, id_)


def test_what_cannot_be_sent_is_pruned_and_withdrawn(
    facade: Facade, name: str, put: Put, tmp_path: Path
) -> None:
    queue = facade.queue(name, payloads=Payloads(storage=tmp_path.as_uri(), threshold=10))
    queue.push_many(["x" * 99, "y" * 99])
    queue.ack_many(queue.claim_many(2))
    put(**CONSUMED, payload='{"uri": "?"}', codec="bytes")
    put(unique_key="key", payload='{"uri": "?"}', codec="bytes")

    assert queue.prune(older_than=timedelta(0)) == 3
    assert queue.withdraw(["key"]) == 1


def test_the_audit_names_what_cannot_be_sent(engine: Engine, name: str, put: Put) -> None:
    bad = [put(), put(payload="1", claim_key=None, last_error="?"), put(payload="1")]

    (readable,) = [check for check in audit(engine, queue=name).checks if check.name == "readable"]

    assert readable.examples == [f"message {id_} in {name!r}" for id_ in bad[:2]]


def test_every_look_of_an_audit_is_limited_also_where_a_row_cannot_be_sent(
    engine: Engine, name: str, put: Put
) -> None:
    put(attempts=-1)
    outside: list[str] = []

    def note(connection: Any, _: Any, statement: str, *__: Any) -> None:
        status = connection.connection.driver_connection.info.transaction_status
        if status == psycopg.pq.TransactionStatus.IDLE and not statement.startswith("BEGIN"):
            outside.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        audited = audit(engine, queue=name, timeout=timedelta(minutes=5))
    finally:
        event.remove(engine, "before_cursor_execute", note)

    assert [each.name for each in audited.checks if each.broken] == ["attempts", "readable"]
    assert outside == []


def test_a_rotation_counts_what_cannot_be_sent_as_failed(
    engine: Engine, facade: Facade, name: str, put: Put
) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    facade.queue(name, payloads=Payloads(keys=[old])).push("secret")
    put(payload='{"key": "another", "data": "?"}', codec="bytes+fernet", status="available")

    done = rotate_keys(engine, Payloads(keys=[new, old]))

    assert done.rotated == 1
    assert done.failed >= 1


def test_what_is_no_short_text_is_not_read_as_one(
    facade: Facade, queue: Queue, name: str, put: Put, tmp_path: Path
) -> None:
    failures = f'[{{"attempt": {HUGE}, "error": {HUGE}}}]'
    put(**CLAIMED, payload="1", claim_expires_at=PAST, claimed_by="me", failures=failures)
    put(**CONSUMED, payload=f'{{"uri": {HUGE}, "key": {HUGE}}}', codec="bytes")
    stored = facade.queue(name, payloads=Payloads(storage=tmp_path.as_uri()))

    assert queue.expire() == 1
    assert stored.prune(older_than=timedelta(0)) == 1


def test_what_counts_queues_and_claims_shows_marks(
    engine: Engine, contract_url: str, name: str, put: Put
) -> None:
    put(queue=f"{name}?", payload="1")
    put(queue=f"{name}.dead", payload="1", attempts=1, last_error_class="?")
    put(queue=f"{name}?", payload="1", attempts=1, last_error_class="?")
    put(**CLAIMED, claim_expires_at=PAST, claimed_by="?")

    looked = [each.found for each in examine(engine)]
    holders = [each.claimed_by for each in held(engine)]
    shown = [
        CliRunner().invoke(group, ["stats", *options, "--url", contract_url])
        for options in ((), ("--errors",))
    ]

    assert not [found for found in looked if "could not look" in found]
    assert len(holders) >= 1
    assert [result.exit_code for result in shown] == [0, 0]
    assert all(name in result.stdout for result in shown)


@pytest.mark.parametrize("column", ["payload", "headers", "unique_key"])
def test_a_producer_pushes_no_character_that_cannot_be_sent(
    engine: Engine, put: Put, column: str
) -> None:
    role = f"xclaim_test_{secrets.token_hex(8)}"
    values = {"payload": "1"} | {column: '{"?": 1}'}
    with engine.begin() as connection:
        plan(connection, Kind.PRODUCER, role).apply(connection)
    try:
        with pytest.raises(AssertionError, match="no equivalent"):
            put(role=role, **values)

        assert put(role=role, payload="1") > 0
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


@pytest.fixture
def emptied(engine: Engine) -> Iterator[None]:
    """No message of another test is there, nor ordering afterwards."""
    _empty(engine)
    yield
    _empty(engine)
    ordering.disable(engine)


def _empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM xclaim_message")


@pytest.mark.usefixtures("emptied")
def test_an_ordering_key_that_cannot_be_sent_is_a_key(queue: Queue, put: Put) -> None:
    bad = put(payload="1", ordering_key="?")
    queue.push("fine")

    (message, _) = queue.peek(2)
    claimed = queue.claim_many(9)

    assert (message.id, [claim.payload for claim in claimed]) == (bad, ["fine"])
    assert queue.counts().dead_letters == 1


@pytest.mark.usefixtures("emptied")
def test_two_leaders_of_a_key_that_cannot_be_sent_are_named(
    engine: Engine, name: str, put: Put
) -> None:
    first, _ = put(payload="1", ordering_key="?"), put(payload="2", ordering_key="?")
    named = rf"ordering key '.+' in '{name}' more than one .* message {first}:"

    with pytest.raises(InvalidArgumentError, match=named):
        ordering.enable(engine)
    with engine.begin() as connection:
        with pytest.raises(InvalidArgumentError, match=named):
            ordering.enable(connection)
        connection.exec_driver_sql("SELECT 1")  # the transaction goes on


@pytest.mark.usefixtures("emptied")
def test_what_keeps_ordering_enabled_is_named_also_in_a_queue_that_cannot_be_sent(
    engine: Engine, name: str, put: Put
) -> None:
    ordering.enable(engine)
    id_ = put(queue=f"{name}?", origin_queue=f"{name}?", payload="1", ordering_key="key")

    with pytest.raises(InvalidArgumentError, match=f"message {id_} in '{name}.+' has an ordering"):
        ordering.disable(engine)
    with (
        pytest.raises(InvalidArgumentError, match=f"message {id_} "),
        engine.begin() as connection,
    ):
        ordering.disable(connection)


@pytest.mark.slow
def test_what_is_longer_than_1_gb_is_set_aside_and_the_next_is_claimed(
    fresh_postgresql_url: str,
) -> None:
    with Queue("orders", fresh_postgresql_url) as queue:
        huge = queue.push(1)
        queue.push("next")
        with psycopg.connect(fresh_postgresql_url.replace("+psycopg", "")) as connection:
            change = "UPDATE xclaim_message SET payload = %s::jsonb WHERE id = %s"
            connection.execute(change, (HUGE, huge.id))

        claimed = queue.claim()

        assert claimed is not None
        assert claimed.payload == "next"
        (failure,) = queue.failures(huge.id)
        assert "longer than the 1 GB" in str(failure.error)


def test_the_view_of_failures_shows_the_others(engine: Engine, name: str, put: Put) -> None:
    put(payload="1", failures=f'[{{"error": {HUGE}}}, {{"error": "it failed"}}]')

    with engine.connect() as connection:
        shown = connection.exec_driver_sql(
            "SELECT error FROM xclaim_failures WHERE queue = %(name)s ORDER BY error",
            {"name": name},
        ).all()

    assert [row.error for row in shown] == ["it failed", None]


def test_what_cannot_be_sent_is_seen_as_far_as_it_can(
    contract_url: str, name: str, put: Put
) -> None:
    engine = create_engine(contract_url)
    observer = patient_observer(engine)
    innocent = Queue(name, engine).push("innocent").id
    by_payload = put()
    by_key = put(payload="1", unique_key="?")
    by_claimant = put(payload="1", claimed_by="?", **CLAIMED, **NOT_LAPSED)
    by_headers = put(payload="1", headers='{"?": 1}')

    found = observer.search(f"queue:{name}").messages
    lives = {each.id: observer.message(each.id) for each in found}
    held = observer.claims(name).page
    matching = observer.matching(f"queue:{name}", limit=99)
    engine.dispose()

    excerpts = {message.id: message.excerpt for message in found}
    assert excerpts == {
        innocent: '"innocent"',
        by_payload: "",
        by_key: "1",
        by_claimant: "1",
        by_headers: "1",
    }
    assert all(life is not None for life in lives.values())
    of_payload = lives[by_payload]
    assert of_payload is not None
    assert of_payload.payload is None
    assert "cannot be sent" in str(of_payload.payload_note)
    assert [claim.id for claim in held] == [by_claimant]
    assert matching.count == 5


def test_a_filter_with_a_character_that_the_database_lacks_is_refused(
    contract_url: str, name: str
) -> None:
    engine = create_engine(contract_url)
    observer = patient_observer(engine)

    with pytest.raises(FilterError, match="encoding lacks"):
        observer.search(f"queue:{name} key:☃*")
    engine.dispose()
