"""`xclaim prune --orphans`, `rotate-keys`, and payloads that are not in the row."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.cli.command_line import CommandLine
from xclaim import Payloads, Queue

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
LARGE = "x" * 2_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


@pytest.fixture
def storing(xclaim: CommandLine, folder: Path) -> CommandLine:
    storage = {"XCLAIM_STORAGE": folder.as_uri(), "XCLAIM_STORAGE_THRESHOLD": "1000"}
    return replace(xclaim, environment=xclaim.environment | storage)


def objects(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def age(folder: Path) -> None:
    for path in objects(folder):
        os.utime(path, (time.time() - 7_200,) * 2)


def test_a_large_payload_goes_to_the_storage_and_is_shown_as_the_row_has_it(
    storing: CommandLine, folder: Path
) -> None:
    storing("push", "orders", f'"{LARGE}"')
    (claim,) = storing("claim", "orders").values

    assert claim["message"]["codec"] == "json"
    assert claim["message"]["payload"]["uri"] == f"file://{objects(folder)[0]}"


def test_large_lines_go_to_the_storage_and_small_ones_to_their_rows(
    storing: CommandLine, folder: Path, queue: Queue
) -> None:
    pushed = storing("push", "orders", "-", stdin=f'"{LARGE}"\n{{"id": 1}}\n')

    large, small = queue.peek(10)
    assert pushed.values == [{"queue": "orders", "pushed": 2, "new": 2}]
    assert large.to_dict()["payload"]["uri"] == f"file://{objects(folder)[0]}"
    assert (small.codec, small.payload) == (None, {"id": 1})


def test_lines_are_encrypted_and_read_back_as_they_were(
    xclaim: CommandLine, database_url: str
) -> None:
    encrypting = replace(xclaim, environment=xclaim.environment | {"XCLAIM_FERNET_KEYS": NEW})

    encrypting("push", "orders", "-", "--unique-key-field", "id", stdin='{"id": 1}\n{"id": 2}\n')

    with Queue("orders", database_url, payloads=Payloads(keys=NEW)) as queue:
        assert [message.payload for message in queue.peek(10)] == [{"id": 1}, {"id": 2}]
        assert {message.codec for message in queue.peek(10)} == {"json+fernet"}


def test_prune_deletes_payloads_with_their_messages(storing: CommandLine, folder: Path) -> None:
    storing("push", "orders", f'"{LARGE}"')
    storing.shell("$xclaim claim orders | $xclaim ack")

    storing("prune", "orders", "--older-than", "0s")

    assert objects(folder) == []


def test_orphans_are_counted_then_removed(storing: CommandLine, folder: Path, queue: Queue) -> None:
    storing("push", "orders", f'"{LARGE}"')
    orphan = folder / "orders" / ("0" * 32)
    orphan.write_bytes(b"left")
    age(folder)

    counted = storing("prune", "--orphans", "--older-than", "1h", "--dry-run")
    removed = storing("prune", "--orphans", "--older-than", "1h")

    found = {"examined": 2, "orphans": 1, "bytes": 4, "left": 0}
    assert counted.values == [{**found, "removed": 0}]
    assert removed.values == [{**found, "removed": 1}]
    assert not orphan.exists()
    assert queue.counts().available == 1


def test_the_objects_of_another_database_are_left_alone(storing: CommandLine, folder: Path) -> None:
    storing("push", "orders", f'"{LARGE}"')
    storing.shell("$xclaim claim orders | $xclaim ack")
    unaware = replace(
        storing,
        environment={k: v for k, v in storing.environment.items() if k != "XCLAIM_STORAGE"},
    )
    unaware("prune", "orders", "--older-than", "0s")
    age(folder)

    refused = storing("prune", "--orphans", "--older-than", "1h")
    removed = storing("prune", "--orphans", "--older-than", "1h", "--every")

    assert refused.status == 2
    assert "--every" in refused.errors[0]
    assert removed.values[0]["removed"] == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("prune", "--older-than", "1d"), "name a QUEUE, or --orphans"),
        (("prune", "orders", "--orphans", "--older-than", "1d"), "no QUEUE"),
        (("prune", "orders", "--every", "--older-than", "1d"), "is for --orphans"),
        (("prune", "--orphans", "--older-than", "1d"), "XCLAIM_STORAGE"),
        (("prune", "--orphans", "--older-than", "1m"), "an hour at least"),
        (("rotate-keys",), "XCLAIM_FERNET_KEYS"),
    ],
)
def test_wrong_use_is_explained(
    refused: Callable[..., str], arguments: tuple[str, ...], problem: str
) -> None:
    assert problem in refused(*arguments)


def test_a_storage_that_cannot_be_written_is_trouble_and_nothing_is_pushed(
    storing: CommandLine, tmp_path: Path, queue: Queue
) -> None:
    (tmp_path / "payloads").write_text("a file")

    pushed = storing("push", "orders", f'"{LARGE}"')

    assert pushed.status == 4
    assert len(pushed.errors) == 1
    assert queue.counts().available == 0


def test_keys_are_rotated_and_claimed_messages_left(xclaim: CommandLine, database_url: str) -> None:
    with Queue("orders", database_url, payloads=Payloads(keys=OLD)) as queue:
        queue.push_many([1, 2, 3])
        claimed = queue.claim()
        assert claimed is not None
        rotating = replace(
            xclaim, environment=xclaim.environment | {"XCLAIM_FERNET_KEYS": f"{NEW},{OLD}"}
        )

        first = rotating("rotate-keys")
        queue.ack(claimed)
        second = rotating("rotate-keys")

    nothing = {"failed": 0, "unencrypted": {}}
    assert (first.status, first.values) == (5, [{"rotated": 2, "claimed": 1, **nothing}])
    assert (second.status, second.values) == (0, [{"rotated": 1, "claimed": 0, **nothing}])


def test_what_is_not_encrypted_yet_is_counted(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2])
    rotating = replace(xclaim, environment=xclaim.environment | {"XCLAIM_FERNET_KEYS": NEW})

    done = rotating("rotate-keys")

    assert (done.status, done.values[0]["unencrypted"]) == (0, {"orders": 2})


def test_what_cannot_be_rotated_is_named(xclaim: CommandLine, database_url: str) -> None:
    with Queue("orders", database_url, payloads=Payloads(keys=OLD)) as queue:
        message = queue.push(1)
    rotating = replace(xclaim, environment=xclaim.environment | {"XCLAIM_FERNET_KEYS": NEW})

    done = rotating("rotate-keys")

    assert done.status == 5
    assert done.values[1]["id"] == message.id
    assert "key" in done.values[1]["error"]
