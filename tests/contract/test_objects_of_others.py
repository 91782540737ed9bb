"""A row of one queue leads to no object of another: not to read it, and not to delete it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.contract.facades import Facade
from xclaim import Message, PayloadGoneError, PayloadRefusedError, Payloads, Queue, Storage
from xclaim.operations.orphans import prune_orphans
from xclaim.payloads.stores.references import folder_of

LARGE = {"rows": [[number, f"name {number}"] for number in range(1_000)]}


@pytest.fixture
def payloads(tmp_path: Path) -> Payloads:
    return Payloads(storage=(tmp_path / "objects").as_uri(), threshold=1_000)


@pytest.fixture
def theirs(facade: Facade, name: str, payloads: Payloads) -> Queue:
    return facade.queue(f"{name}-theirs", payloads=payloads)


@pytest.fixture
def mine(facade: Facade, name: str, payloads: Payloads) -> Queue:
    return facade.queue(f"{name}-mine", payloads=payloads)


@pytest.fixture
def point(engine: Engine) -> Callable[[Message, Message], None]:
    """Let one row name the object of another, as who may write rows can."""

    def write(row: Message, other: Message) -> None:
        is_postgresql = engine.dialect.name == "postgresql"
        value = "CAST(:payload AS jsonb)" if is_postgresql else ":payload"
        change = f"UPDATE xclaim_message SET payload = {value}, codec = :codec WHERE id = :id"
        values = {"payload": json.dumps(other.stored), "codec": other.codec, "id": row.id}
        with engine.begin() as connection:
            connection.execute(text(change), values)

    return write


def is_there(message: Message) -> bool:
    return Path(message.stored["uri"].removeprefix("file://")).exists()


def test_it_is_not_read(mine: Queue, theirs: Queue, point: Any) -> None:
    kept, crafted = theirs.push(LARGE), mine.push(1)
    point(crafted, kept)

    claimed = mine.claim()
    assert claimed is not None
    for read in (lambda: claimed.payload, claimed.open, lambda: mine.read(claimed)):
        with pytest.raises(PayloadRefusedError, match="for its queue"):
            read()

    assert theirs.peek()[0].payload == LARGE


def test_a_row_can_name_an_object_of_its_own_queue(theirs: Queue, point: Any) -> None:
    kept, crafted = theirs.push(LARGE), theirs.push(1)

    point(crafted, kept)

    claims = theirs.claim_many(2)
    assert [claim.payload for claim in claims] == [LARGE, LARGE]


def test_a_row_that_says_it_came_from_their_queue_leads_to_their_object(
    mine: Queue, theirs: Queue, point: Any, engine: Engine
) -> None:
    kept, crafted = theirs.push(LARGE), mine.push(1)
    point(crafted, kept)
    with engine.begin() as connection:  # as the owner can, or who may write a SQLite file
        connection.execute(
            text("UPDATE xclaim_message SET origin_queue = :queue WHERE id = :id"),
            {"queue": kept.queue, "id": crafted.id},
        )

    (found,) = mine.peek(1)
    payload = found.payload
    mine.withdraw(ids=[crafted.id])

    assert payload == LARGE
    assert not is_there(kept)
    with pytest.raises(PayloadGoneError):
        _ = theirs.peek(1)[0].payload


def test_it_is_not_deleted_by_an_ack(
    facade: Facade, name: str, mine: Queue, theirs: Queue, point: Any, payloads: Payloads
) -> None:
    kept, crafted = theirs.push(LARGE), mine.push(1)
    point(crafted, kept)
    drops = Payloads(storage=payloads.storage, threshold=1_000, after_ack="drop")
    dropping = facade.queue(f"{name}-mine", payloads=drops)

    claimed = dropping.claim()
    assert claimed is not None
    dropping.ack(claimed)

    assert is_there(kept)


def test_it_is_not_deleted_by_prune_and_my_own_are(
    mine: Queue, theirs: Queue, point: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kept, (crafted, own) = theirs.push(LARGE), mine.push_many([1, LARGE])
    point(crafted, kept)
    mine.ack_many(mine.claim_many(2))

    assert mine.prune(older_than=timedelta(0)) == 2

    assert is_there(kept)
    assert not is_there(own)
    assert "1 objects stay that rows name" in caplog.text


@pytest.mark.parametrize("by", ["ids", "keys"])
def test_it_is_not_deleted_by_withdraw(mine: Queue, theirs: Queue, point: Any, by: str) -> None:
    kept, crafted = theirs.push(LARGE), mine.push(1, unique_key="one")
    point(crafted, kept)

    count = mine.withdraw(ids=[crafted.id]) if by == "ids" else mine.withdraw(["one"])

    assert count == 1
    assert is_there(kept)


def test_a_dead_letter_and_what_was_redriven_keep_their_objects(
    facade: Facade, name: str, payloads: Payloads
) -> None:
    queue = facade.queue(f"{name}-mine", payloads=payloads)
    message = queue.push(LARGE, max_attempts=1)
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed, error="no")
    queue.redrive(to=f"{name}-other")
    other = facade.queue(f"{name}-other", payloads=payloads)

    redriven = other.claim()
    assert redriven is not None
    assert redriven.payload == LARGE
    other.ack(redriven)
    other.prune(older_than=timedelta(0))

    assert not is_there(message)


def test_an_orphan_is_not_kept_by_a_row_of_another_queue(
    facade: Facade, name: str, engine: Engine, tmp_path: Path, point: Any
) -> None:
    own = Payloads(storage=(tmp_path / "own").as_uri(), threshold=1_000)
    mine, theirs = (facade.queue(f"{name}-{one}", payloads=own) for one in ("mine", "theirs"))
    left, crafted, kept = theirs.push(LARGE), mine.push(1), theirs.push(LARGE)
    point(crafted, left)
    with engine.begin() as connection:  # as a crash between the row and its object does
        connection.execute(text("DELETE FROM xclaim_message WHERE id = :id"), {"id": left.id})
    for each in (left, kept):
        path = each.stored["uri"].removeprefix("file://")
        os.utime(path, (time.time() - 7_200,) * 2)

    found = prune_orphans(engine, own, older_than=timedelta(hours=1))

    assert (found.examined, found.orphans) == (2, 1)
    assert is_there(kept)
    assert not is_there(left)
    mine.withdraw(ids=[crafted.id])


def test_no_two_queues_have_one_folder() -> None:
    long = "q" * 199
    folder = folder_of(long)
    crafted = f"{folder[:87]}{chr(int(folder[88:90], 16) % 128)}{folder[90:]}"

    assert len(folder) == 120
    assert folder_of(crafted) != folder
    assert folder_of("q" * 120) != folder_of("q" * 119)
    assert folder_of("orders/eu") != folder_of("orders~2feu")


def test_a_storage_knows_in_which_folder_an_object_lies(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "new", read_from=[tmp_path / "old"])
    name = "0123456789abcdef" * 2

    assert storage.is_in(f"file://{tmp_path}/new/orders/{name}", "orders")
    assert storage.is_in(f"file://{tmp_path}/old/orders/{name}", "orders")
    for elsewhere in ("new/other", "orders", "new/orders/deeper", "new/orders/../other", "older"):
        assert not storage.is_in(f"file://{tmp_path}/{elsewhere}/{name}", "orders")
