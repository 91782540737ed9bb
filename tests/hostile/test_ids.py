"""Ids that no push gives, and the way out where the last one is taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from tests.contract.facades import Facade
from tests.hostile.rows import row
from tests.looks import patient_observer
from tests.retrying import AT_ONCE
from xclaim import Payloads, Queue
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


def way_out() -> list[str]:
    """Return the statements of the page that change sqlite_sequence, and move the row."""
    (block,) = [
        block
        for block in re.findall(r"```sql\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
        if "sqlite_sequence" in block
    ]
    return [statement for statement in block.split(";") if statement.strip()]
