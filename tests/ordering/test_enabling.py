"""What `xclaim ordering enable` makes, on each database."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import Engine

from xclaim import Queue, create_engine
from xclaim.operations import migrate, ordering


def test_where_it_was_enabled_keys_take_turns(queue: Queue) -> None:
    queue.push_many(["a1", "a2", "a3"], ordering_keys=["a"] * 3)
    queue.push_many(["b1", "b2"], ordering_keys=["b"] * 2)

    done = []
    for claimed in queue.stream(batch=1):
        done.append(claimed.payload)
        time.sleep(0.002)  # SQLite keeps milliseconds, and turns of the same one go by their ids

    assert done == ["a1", "b1", "a2", "b2", "a3"]


def test_enabling_a_file_makes_what_its_first_push_makes(sqlite_folder: Path) -> None:
    enabled, pushed = (file(sqlite_folder / name) for name in ("enabled.db", "pushed.db"))

    ordering.enable(enabled)
    Queue("orders", pushed).push(1, ordering_key="a")

    assert triggers(enabled) == triggers(pushed)
    enabled.dispose()
    pushed.dispose()


def file(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")
    migrate.upgrade(engine)
    return engine


def triggers(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        )
        return {row.name: row.sql for row in found}
