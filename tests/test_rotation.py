"""New keys: everything is encrypted anew, and nothing is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from xclaim import DuplicateMessageError, InvalidArgumentError, Payloads, Queue, create_engine
from xclaim.operations.rotation import rotate_keys

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
LARGE = {"rows": [[number, f"name {number}"] for number in range(1_000)]}


@pytest.fixture(params=["sqlite_url", "fresh_postgresql_url"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = create_engine(request.getfixturevalue(request.param))
    yield engine
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


def settings(folder: Path, *keys: str, **options: Any) -> Payloads:
    return Payloads(storage=folder.as_uri(), threshold=1_000, keys=keys, **options)


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_after_a_rotation_the_old_key_is_not_needed(
    engine: Engine, folder: Path, compression: str | None
) -> None:
    old = settings(folder, OLD, compression=compression)
    Queue("orders", engine, payloads=old).push_many([{"id": 1}, LARGE, b"raw"])
    before = objects(folder)

    done = rotate_keys(engine, settings(folder, NEW, OLD, compression=compression))

    assert (done.rotated, done.claimed, done.failed) == (3, 0, 0)
    assert done.is_complete
    assert len(objects(folder)) == len(before)
    assert set(objects(folder)).isdisjoint(before)
    queue = Queue("orders", engine, payloads=settings(folder, NEW))
    assert [claim.payload for claim in queue.claim_many(3)] == [{"id": 1}, LARGE, b"raw"]


def test_a_second_rotation_has_nothing_to_do(engine: Engine, folder: Path) -> None:
    Queue("orders", engine, payloads=settings(folder, OLD)).push_many([1, 2])
    rotate_keys(engine, settings(folder, NEW, OLD))

    assert rotate_keys(engine, settings(folder, NEW, OLD)).rotated == 0


def test_claimed_messages_are_left_for_later(engine: Engine, folder: Path) -> None:
    queue = Queue("orders", engine, payloads=settings(folder, OLD))
    queue.push_many([LARGE, LARGE])
    claimed = queue.claim()
    assert claimed is not None

    done = rotate_keys(engine, settings(folder, NEW, OLD))

    assert (done.rotated, done.claimed) == (1, 1)
    assert not done.is_complete
    assert claimed.payload == LARGE
    queue.ack(claimed)
    assert rotate_keys(engine, settings(folder, NEW, OLD)).is_complete


def test_more_messages_than_one_statement_returns_are_all_rotated(
    engine: Engine, folder: Path
) -> None:
    Queue("orders", engine, payloads=settings(folder, OLD)).push_many(list(range(250)))

    assert rotate_keys(engine, settings(folder, NEW, OLD)).rotated == 250


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_rotated_payload_is_still_pushed_once(
    engine: Engine, folder: Path, compression: str | None
) -> None:
    old = Queue("orders", engine, payloads=settings(folder, OLD, compression=compression))
    pushed = [old.push(LARGE, unique_key="a"), old.push(b"raw" * 999, unique_key="b")]
    rotate_keys(engine, settings(folder, NEW, OLD, compression=compression))
    queue = Queue("orders", engine, payloads=settings(folder, NEW, compression=compression))

    again = [queue.push(LARGE, unique_key="a"), queue.push(b"raw" * 999, unique_key="b")]

    assert [message.id for message in again] == [message.id for message in pushed]
    with pytest.raises(DuplicateMessageError):
        queue.push({"id": 1}, unique_key="a")


def test_what_cannot_be_read_is_named_and_stays(engine: Engine, folder: Path) -> None:
    queue = Queue("orders", engine, payloads=settings(folder, OLD))
    gone, kept = queue.push_many([LARGE, {"id": 1}])
    objects(folder)[0].unlink()

    done = rotate_keys(engine, settings(folder, NEW, OLD))

    assert (done.rotated, done.failed) == (1, 1)
    assert list(done.errors) == [gone.id]
    assert queue.get(gone.id) is not None
    message = Queue("orders", engine, payloads=settings(folder, NEW)).get(kept.id)
    assert message is not None
    assert message.payload == {"id": 1}


def test_a_key_that_is_missing_is_named(engine: Engine, folder: Path) -> None:
    Queue("orders", engine, payloads=settings(folder, OLD)).push({"id": 1})

    done = rotate_keys(engine, settings(folder, NEW))

    (error,) = done.errors.values()
    assert "key" in error
    assert OLD not in error
    assert NEW not in error


@pytest.mark.parametrize("payload", [{"id": 1}, LARGE])
def test_what_was_put_into_a_row_of_another_queue_is_named_and_stays(
    engine: Engine, folder: Path, payload: Any
) -> None:
    payroll, public = (Queue(name, engine, payloads=settings(folder, OLD)) for name in "ab")
    secret, crafted = payroll.push(payload), public.push(1)
    is_postgresql = engine.dialect.name == "postgresql"
    value = "CAST(:payload AS jsonb)" if is_postgresql else ":payload"
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE xclaim_message SET payload = {value}, codec = :codec WHERE id = :id"),
            {"payload": json.dumps(secret.stored), "codec": secret.codec, "id": crafted.id},
        )

    done = rotate_keys(engine, settings(folder, NEW, OLD))

    assert (done.rotated, done.failed) == (1, 1)
    assert "queue" in done.errors[crafted.id]
    (claimed,) = Queue("a", engine, payloads=settings(folder, NEW)).claim_many(2)
    assert claimed.payload == payload


def test_dead_letters_and_what_was_redriven_are_rotated_for_their_first_queue(
    engine: Engine, folder: Path
) -> None:
    queue = Queue("orders", engine, payloads=settings(folder, OLD))
    queue.push_many([{"id": 1}, LARGE], unique_keys=["a", "b"], max_attempts=1)
    for claim in queue.claim_many(2):
        queue.release(claim, error="no")
    queue.redrive(limit=1, to="others")

    assert rotate_keys(engine, settings(folder, NEW, OLD)).rotated == 2

    after = settings(folder, NEW)
    read = [Queue(name, engine, payloads=after).claim() for name in ("others", "orders.dead")]
    assert [claim.payload for claim in read if claim] == [{"id": 1}, LARGE]


def test_without_keys_there_is_nothing_to_rotate_to(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XCLAIM_FERNET_KEYS", raising=False)

    with pytest.raises(InvalidArgumentError, match="XCLAIM_FERNET_KEYS"):
        rotate_keys(engine)


def test_what_is_not_encrypted_is_counted_by_its_queue_until_it_is_consumed(
    engine: Engine, folder: Path
) -> None:
    plain = Queue("orders", engine)
    plain.push_many([1, LARGE, b"raw"])
    Queue("others", engine, payloads=settings(folder, OLD)).push_many([1, 2])
    plain.claim_many(1)

    before = rotate_keys(engine, settings(folder, NEW, OLD)).unencrypted
    plain.ack_many(plain.claim_many(1))

    assert before == {"orders": 3}
    assert rotate_keys(engine, settings(folder, NEW, OLD)).unencrypted == {"orders": 2}
