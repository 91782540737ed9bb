"""The plain functions clean up what they store, as the methods of a queue do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from xclaim import DuplicateMessageError, InvalidArgumentError, create_engine, push

PAYLOAD, OTHER = "x" * 100, "y" * 100


def again(connection: Connection) -> None:
    push(connection, "orders", PAYLOAD, unique_key="a")


def another_under_the_key(connection: Connection) -> None:
    with pytest.raises(DuplicateMessageError):
        push(connection, "orders", OTHER, unique_key="a")


def with_a_wrong_option(connection: Connection) -> None:
    with pytest.raises(InvalidArgumentError):
        push(connection, "orders", OTHER, priority=10**6)


PUSHES: Mapping[str, Callable[[Connection], Any]] = {
    "again": again,
    "another under the key": another_under_the_key,
    "with a wrong option": with_a_wrong_option,
}


@pytest.mark.parametrize("name", PUSHES)
def test_a_plain_push_of_nothing_new_leaves_no_object(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def objects() -> list[Path]:
        return sorted(path for path in folder.rglob("*") if path.is_file())

    folder = tmp_path / "objects"
    monkeypatch.setenv("XCLAIM_STORAGE", folder.as_uri())
    monkeypatch.setenv("XCLAIM_STORAGE_THRESHOLD", "10")
    engine = create_engine(database_url)
    with engine.begin() as connection:
        push(connection, "orders", PAYLOAD, unique_key="a")
    (stored,) = objects()

    with engine.begin() as connection:
        PUSHES[name](connection)

    assert objects() == [stored]
    engine.dispose()
