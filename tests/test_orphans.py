"""Objects without a message: found, and removed; objects with one never."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from xclaim import InvalidArgumentError, Payloads, Queue, create_engine
from xclaim.operations import migrate
from xclaim.operations.orphans import prune_orphans

LARGE = "a" * 2_000
HOUR = timedelta(hours=1)


@pytest.fixture(params=["sqlite_url", "fresh_postgresql_url"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = create_engine(request.getfixturevalue(request.param))
    yield engine
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


@pytest.fixture
def payloads(folder: Path) -> Payloads:
    return Payloads(storage=folder.as_uri(), threshold=1_000)


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def age(folder: Path) -> None:
    long_ago = time.time() - 7_200
    for path in objects(folder):
        os.utime(path, (long_ago, long_ago))


def push_and_roll_back(engine: Engine, payloads: Payloads) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        Queue("orders", connection, payloads=payloads).push(LARGE)
        transaction.rollback()


def test_what_a_rollback_left_is_removed_and_nothing_else(
    engine: Engine, payloads: Payloads, folder: Path
) -> None:
    queue = Queue("orders", engine, payloads=payloads)
    queue.push(LARGE)
    push_and_roll_back(engine, payloads)
    age(folder)

    found = prune_orphans(engine, payloads, older_than=HOUR)

    assert (found.examined, found.orphans, found.removed, found.bytes) == (2, 1, 1, 2_002)
    claimed = queue.claim()
    assert claimed is not None
    assert claimed.payload == LARGE


def test_a_push_that_is_not_committed_yet_keeps_its_object(
    engine: Engine, payloads: Payloads, folder: Path
) -> None:
    Queue("orders", engine, payloads=payloads).push(LARGE)
    age(folder)
    with engine.begin() as connection:
        Queue("orders", connection, payloads=payloads).push(LARGE)

        found = prune_orphans(engine, payloads, older_than=HOUR)

    assert found.orphans == 0
    assert [message.payload for message in Queue("orders", engine, payloads=payloads).peek(2)] == [
        LARGE,
        LARGE,
    ]


def test_a_dry_run_removes_nothing(engine: Engine, payloads: Payloads, folder: Path) -> None:
    Queue("orders", engine, payloads=payloads).push(LARGE)
    push_and_roll_back(engine, payloads)
    age(folder)

    found = prune_orphans(engine, payloads, older_than=HOUR, dry_run=True)

    assert (found.orphans, found.removed) == (1, 0)
    assert len(objects(folder)) == 2


def test_the_storage_of_another_database_is_not_emptied(
    engine: Engine, payloads: Payloads, folder: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    migrate.upgrade(url)
    Queue("orders", engine, payloads=payloads).push(LARGE)
    age(folder)
    other = create_engine(url)

    with pytest.raises(InvalidArgumentError, match="right one"):
        prune_orphans(other, payloads, older_than=HOUR)

    assert len(objects(folder)) == 1
    assert prune_orphans(other, payloads, older_than=HOUR, every=True).removed == 1
    other.dispose()


def test_a_queue_of_another_database_below_the_same_prefix_keeps_its_objects(
    engine: Engine, payloads: Payloads, folder: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    migrate.upgrade(url)
    Queue("invoices", url, payloads=payloads).push(LARGE)
    Queue("orders", engine, payloads=payloads).push(LARGE)
    push_and_roll_back(engine, payloads)
    age(folder)

    found = prune_orphans(engine, payloads, older_than=HOUR)

    assert (found.examined, found.orphans, found.removed, found.left) == (3, 1, 1, 1)
    (theirs,) = Queue("invoices", url, payloads=payloads).peek()
    assert theirs.payload == LARGE


@pytest.mark.parametrize("queue", ["orders", "q" * 200])
def test_of_which_queues_orphans_are_looked_for_can_be_said(
    engine: Engine, payloads: Payloads, folder: Path, queue: str
) -> None:
    for name in (queue, "invoices"):
        Queue(name, engine, payloads=payloads).push(LARGE)
    with engine.connect() as connection, connection.begin() as transaction:
        for name in (queue, "invoices"):
            Queue(name, connection, payloads=payloads).push(LARGE)
        transaction.rollback()
    age(folder)

    found = prune_orphans(engine, payloads, older_than=HOUR, has_queue=lambda name: name == queue)

    assert (found.orphans, found.left) == (1, 1)
    assert [len(objects(each)) for each in sorted(folder.iterdir())] == [2, 1]


def test_objects_of_many_messages_are_told_apart_in_batches(
    engine: Engine, payloads: Payloads, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xclaim.operations.orphans._BATCH", 3)
    Queue("orders", engine, payloads=payloads).push_many([LARGE] * 7)
    for _ in range(4):
        push_and_roll_back(engine, payloads)
    age(folder)

    found = prune_orphans(engine, payloads, older_than=HOUR)

    assert (found.examined, found.removed) == (11, 4)


@pytest.mark.parametrize("older_than", [timedelta(0), timedelta(minutes=59)])
def test_objects_of_the_last_hour_are_never_orphans(
    engine: Engine, payloads: Payloads, older_than: timedelta
) -> None:
    with pytest.raises(InvalidArgumentError, match="hour"):
        prune_orphans(engine, payloads, older_than=older_than)


def test_without_a_storage_there_is_nothing_to_look_through(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XCLAIM_STORAGE", raising=False)

    with pytest.raises(InvalidArgumentError, match="XCLAIM_STORAGE"):
        prune_orphans(engine)


def test_the_environment_says_how_payloads_are_stored(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XCLAIM_STORAGE", folder.as_uri())
    monkeypatch.setenv("XCLAIM_STORAGE_THRESHOLD", "1000")

    Queue("orders", engine).push_many([LARGE, "small"])

    assert len(objects(folder)) == 1
    assert [claim.payload for claim in Queue("orders", engine).claim_many(2)] == [LARGE, "small"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("XCLAIM_STORAGE", "ftp://somewhere", "s3://"),
        ("XCLAIM_STORAGE_THRESHOLD", "64k", "XCLAIM_STORAGE_THRESHOLD must be .* not '64k'"),
        ("XCLAIM_STORAGE_THRESHOLD", "-1", "XCLAIM_STORAGE_THRESHOLD must be .* not '-1'"),
        ("XCLAIM_STORAGE_OPTIONS", "secret", "no JSON object"),
        ("XCLAIM_FERNET_KEYS", "secret", "Fernet"),
    ],
)
def test_an_environment_that_cannot_be_used_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv("XCLAIM_STORAGE", tmp_path.as_uri())
    monkeypatch.setenv(name, value)

    with pytest.raises(InvalidArgumentError, match=problem) as raised:
        Queue("orders", "sqlite://")

    assert "secret" not in str(raised.value)


def test_a_queue_takes_payloads_and_nothing_like_it() -> None:
    settings: Any = {"storage": "s3://bucket"}

    with pytest.raises(InvalidArgumentError, match=r"Payloads\(...\)"):
        Queue("orders", "sqlite://", payloads=settings)
