"""Ids that no push gives, and the way out where the last one is taken."""

from __future__ import annotations

import os
import re
from itertools import chain
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.cli.command_line import CommandLine
from tests.contract.facades import Facade
from tests.hostile.rows import CLAIMED, CONSUMED, DEAD, row
from tests.hostile.test_observing import everything
from tests.looks import patient_observer
from tests.retrying import AT_ONCE
from xclaim import InvalidArgumentError, Payloads, Queue
from xclaim.observing import Observer
from xclaim.operations.audit import audit
from xclaim.operations.rotation import rotate_keys

DATABASES = ("sqlite", "postgresql")
LOWEST, HIGHEST = -(2**63), 2**63 - 1
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations" / "audit.md"


def write(engine: Engine, *ids: int) -> None:
    with engine.begin() as connection:
        for id_ in ids:
            row().write(connection, id=str(id_))


def encrypted(engine: Engine, id_: int) -> None:
    """Push an encrypted message and give it this id."""
    Queue("hostile", engine, payloads=Payloads(keys=[OLD])).push("secret")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE xclaim_message SET id = {id_} WHERE id > 0")


@pytest.mark.parametrize("database", DATABASES)
def test_the_audit_looks_at_every_id_there_can_be(engine: Engine) -> None:
    write(engine, LOWEST, -1, 0, 5, HIGHEST)
    with engine.begin() as connection:
        change = "UPDATE xclaim_message SET claimed_by = NULL, headers = '[]' WHERE id < 1"
        connection.exec_driver_sql(change)

    audited = audit(engine)

    (readable,) = [check for check in audited.checks if check.name == "readable"]
    assert audited.rows["available"] == 5
    assert readable.checked == 5
    assert readable.examples == [f"message {id_} in 'hostile'" for id_ in (LOWEST, -1, 0)]


@pytest.mark.parametrize("database", DATABASES)
def test_of_ids_below_the_first_none_is_gone(engine: Engine) -> None:
    write(engine, LOWEST, -1)

    assert audit(engine).gone == 0
    assert audit(engine, newest=1).rows["available"] == 1

    write(engine, 0, 5)

    assert audit(engine).gone == 4


@pytest.mark.parametrize("id_", [LOWEST, -1, 0, HIGHEST])
@pytest.mark.parametrize("database", DATABASES)
def test_a_rotation_finds_every_id_there_can_be(engine: Engine, facade: Facade, id_: int) -> None:
    encrypted(engine, id_)

    done = rotate_keys(engine, Payloads(keys=[NEW, OLD]))

    assert (done.rotated, done.is_complete) == (1, True)
    (message,) = facade.queue("hostile", payloads=Payloads(keys=[NEW])).peek()
    assert (message.id, message.payload) == (id_, "secret")


@pytest.mark.parametrize("database", DATABASES)
def test_a_search_finds_every_id_there_can_be(engine: Engine) -> None:
    write(engine, LOWEST, -1, 0, 5, HIGHEST)
    observer = patient_observer(engine)

    def found(filter_: str) -> list[int]:
        return [message.id for message in observer.search(filter_).messages]

    assert found(f"id:{LOWEST},0,{HIGHEST}") == [HIGHEST, 0, LOWEST]
    assert found(f"id:{LOWEST}..-1") == [-1, LOWEST]
    assert found("-id:-1 -id:5..5") == [HIGHEST, 0, LOWEST]


@pytest.mark.parametrize(
    "payload", ['"x"', '{"data": "YQ=="}', '{"data": "YQ==", "key": null}', "[1]", '{"key": [1]}']
)
@pytest.mark.parametrize("database", DATABASES)
def test_a_rotation_says_what_does_not_say_its_key(engine: Engine, payload: str) -> None:
    with engine.begin() as connection:
        row(codec="'json+fernet'", payload=f"'{payload}'").write(connection)

    done = rotate_keys(engine, Payloads(keys=[NEW, OLD]))

    assert (done.rotated, done.failed, done.is_complete) == (0, 1, False)
    assert list(done.errors) == [1]


@pytest.mark.parametrize("id_", [LOWEST, -1, 0, HIGHEST])
@pytest.mark.parametrize("database", DATABASES)
def test_a_message_of_any_id_is_claimed_released_and_consumed(
    engine: Engine, facade: Facade, id_: int
) -> None:
    write(engine, id_)
    queue = facade.queue("hostile", retry=AT_ONCE)

    claim = queue.claim()
    assert claim is not None
    queue.release(claim, error="boom")
    seen = [claim.message.id for claim in queue.stream()]

    assert seen == [id_]


@pytest.mark.parametrize("database", ["sqlite"])
def test_what_the_docs_say_makes_room_for_new_ids(engine: Engine, facade: Facade) -> None:
    queue = facade.queue("hostile")
    queue.push("first")
    write(engine, HIGHEST)
    with pytest.raises(DBAPIError, match="full"):
        queue.push("no room")

    with engine.begin() as connection:
        for statement in way_out():
            connection.exec_driver_sql(statement)

    assert queue.push("second").id > 2
    assert [claim.payload for claim in queue.claim_many(9)] == [1, "first", "second"]


@pytest.mark.parametrize("database", ["postgresql"])
def test_what_the_docs_say_lets_the_sequence_go_on_behind_ids_by_hand(
    engine: Engine, facade: Facade
) -> None:
    write(engine, 1, 2, 7)
    queue = facade.queue("hostile")
    with pytest.raises(IntegrityError, match="duplicate key"):
        queue.push("no room")
    (statement,) = re.findall(r"`(SELECT setval[^`]*)`", OPERATIONS.read_text())

    with engine.begin() as connection:
        connection.exec_driver_sql(statement)

    assert queue.push("behind").id == 8


def way_out() -> list[str]:
    """Return the statements of the page that change sqlite_sequence, and move the row."""
    (block,) = [
        block
        for block in re.findall(r"```sql\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
        if "sqlite_sequence" in block
    ]
    return [statement for statement in block.split(";") if statement.strip()]


@pytest.mark.parametrize("id_", [LOWEST, -1, 0, HIGHEST])
@pytest.mark.parametrize("database", DATABASES)
def test_a_message_of_any_id_is_had_by_its_id(engine: Engine, facade: Facade, id_: int) -> None:
    write(engine, id_)
    queue = facade.queue("hostile", retry=AT_ONCE)

    found, claim = queue.get(id_), queue.claim_message(id_)
    assert found is not None
    assert claim is not None
    queue.release(claim, error="boom")

    assert found.id == claim.message.id == id_
    assert [failure.attempt for failure in queue.failures(id_)] == [1]
    assert queue.withdraw(ids=[id_]) == 1
    assert queue.get(id_) is None


@pytest.mark.parametrize("database", DATABASES)
def test_dead_letters_of_any_id_are_redriven_by_their_ids(engine: Engine, facade: Facade) -> None:
    ids = [LOWEST, -1, 0, 5, HIGHEST]
    with engine.begin() as connection:
        for id_ in ids:
            row(DEAD).write(connection, id=str(id_))
    queue = facade.queue("hostile", retry=AT_ONCE)

    assert queue.redrive(ids=ids, dry_run=True) == len(ids)
    assert queue.redrive(ids=ids) == len(ids)
    assert {message.id for message in queue.peek(9)} == {*ids}
    with pytest.raises(InvalidArgumentError, match="message -2 is no dead letter"):
        queue.redrive(ids=[-2])


@pytest.mark.parametrize("database", DATABASES)
def test_an_operator_settles_and_withdraws_messages_of_any_id(
    engine: Engine, tmp_path: Path
) -> None:
    assert engine.dialect.name in DATABASES
    with engine.begin() as connection:
        for id_ in (LOWEST, -1, 0):
            row(CLAIMED).write(connection, id=str(id_))
    write(engine, -3, HIGHEST)
    xclaim = CommandLine(folder=tmp_path, environment=dict(os.environ)).at(
        engine.url.render_as_string(hide_password=False)
    )

    got = xclaim("get", "hostile", "--", "-3", "0", str(HIGHEST))
    acked = xclaim("ack", "hostile", "--", str(LOWEST), "-1")
    released = xclaim("release", "hostile", "0")
    withdrawn = xclaim("withdraw", "hostile", "--", "-3", "0", str(HIGHEST))

    assert [line["id"] for line in got.values] == [-3, 0, HIGHEST]
    assert [line["id"] for line in acked.values] == [LOWEST, -1]
    assert [line["id"] for line in released.values] == [0]
    assert withdrawn.values == [{"queue": "hostile", "withdrawn": 3}]


def claims_of(observer: Observer) -> list[int]:
    ids: list[int] = []
    cursor = None
    while True:
        page = observer.claims(limit=2, after=cursor)
        ids += [held.id for held in page.page]
        cursor = page.next
        if cursor is None:
            return ids


@pytest.mark.parametrize("database", DATABASES)
def test_every_list_goes_on_behind_any_id(engine: Engine) -> None:
    states = {"available": {}, "claimed": CLAIMED, "consumed": CONSUMED, "dead": DEAD}
    ids: dict[str, list[int]] = {}
    with engine.begin() as connection:
        for number, (word, columns) in enumerate(states.items()):
            ids[word] = [LOWEST + number, *range(-16 + number, 17, 4), HIGHEST - number]
            for id_ in ids[word]:
                row(columns).write(connection, id=str(id_))
    observer = patient_observer(engine)

    for word in states:
        assert everything(observer, f"status:{word} queue:hostile") == ids[word][::-1]
    assert everything(observer, "") == sorted(chain(*ids.values()), reverse=True)
    assert claims_of(observer) == ids["claimed"]
