"""What is seen of a table full of rows that no driver reads: the others, and what can be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.hostile import rows
from tests.hostile.test_surfaces import DATABASES, fill
from tests.looks import patient_observer
from tests.retrying import AT_ONCE
from xclaim import Claim, Queue
from xclaim.observing import Observer
from xclaim.observing.filters import StatusWord

FILTERS = [
    "",
    *(f"status:{word}" for word in StatusWord),
    *(f"status:{word} queue:hostile" for word in StatusWord),
    "-status:consumed",
    "key:innocent",
    "key:inno*",
    "by:some*",
    "run:r",
    "dag:d*",
    "task:t",
    "error:x",
    "payload:innocent",
    "payload.a.b:1",
    "payload.0:1",
    "payload:1e5",
    "payload.a:null",
    "-payload:true",
]


@pytest.mark.parametrize("database", DATABASES)
def test_every_search_ends_among_hostile_rows(engine: Engine, database: str) -> None:
    count = fill(engine, database)
    observer = patient_observer(engine)

    found = {filter_: everything(observer, filter_) for filter_ in FILTERS}

    innocent = found["key:innocent"]
    assert len(innocent) == 1
    assert found["payload:innocent"] == found["key:inno*"] == innocent
    assert len(found[""]) == count
    of_statuses = [found["status:claimed"], found["status:consumed"], found["status:dead"]]
    assert all(of_statuses)


def everything(observer: Observer, filter_: str) -> list[int]:
    ids: list[int] = []
    cursor = None
    while True:
        page = observer.search(filter_, limit=7, before=cursor)
        ids += [message.id for message in page.messages]
        cursor = page.older
        if cursor is None:
            assert len(set(ids)) == len(ids)
            return ids


@pytest.mark.parametrize("database", DATABASES)
def test_the_life_of_every_hostile_row_is_told(engine: Engine, database: str) -> None:
    fill(engine, database)
    observer = patient_observer(engine)

    ids = [id_ for id_ in everything(observer, "") if id_ > 0]
    lives = [observer.message(id_) for id_ in ids]

    assert all(life is not None and life.moments for life in lives)
    assert all(str(life).encode() for life in lives)


LOOKS: dict[str, Callable[[Observer], Any]] = {
    "claims": lambda observer: observer.claims(),
    "claims of a queue": lambda observer: observer.claims("hostile"),
    "failing": lambda observer: observer.failing("hostile"),
    "dead letters": lambda observer: observer.dead_letters(),
    "dead letters of a queue": lambda observer: observer.dead_letters("hostile"),
    "the work of a run": lambda observer: observer.work("d", "r"),
    "the work of a task": lambda observer: observer.work("d", "r", "t", 3),
    "what matches": lambda observer: observer.matching("", limit=10_000),
    "completions": lambda observer: observer.completions("queue:"),
}


@pytest.mark.parametrize("database", DATABASES)
def test_every_look_sees_the_other_rows(engine: Engine, database: str) -> None:
    fill(engine, database)
    queue = Queue("other", engine, retry=AT_ONCE)
    queue.push_many([1, 2, 3], max_attempts=1)
    queue.release(claimed(queue), error=ValueError("no"))
    queue.claim(claimed_by="d/r/t[3]#1@host")
    observer = patient_observer(engine)

    seen = {name: look(observer) for name, look in LOOKS.items()}

    assert "other" in [held.queue for held in seen["claims"].page]
    assert "other" in [letters.queue for letters in seen["dead letters"].groups]
    assert [message.queue for message in seen["the work of a task"].held] == ["other"]
    assert "queue:other" in [each.text for each in seen["completions"]]
    assert seen["what matches"].is_complete


@pytest.mark.parametrize("database", DATABASES)
def test_names_with_slashes_and_line_feeds_are_no_tasks(engine: Engine, database: str) -> None:
    assert engine.dialect.name == database
    names = ["a\nb/c", "a//b#1@c", "/r/t#1@h", "d/r\n/s/t[1]#2@h", "d/r/t[x]#1@h", "d/r/t#1@h/x"]
    with engine.begin() as connection:
        for name in names:
            rows.row(rows.CLAIMED, claimed_by=f"'{name}'").write(connection)
    observer = patient_observer(engine)

    tasks = {held.claimed_by: held.task for held in observer.claims().page}

    assert {name for name, task in tasks.items() if task is not None} == {"d/r\n/s/t[1]#2@h"}
    read = tasks["d/r\n/s/t[1]#2@h"]
    assert read is not None
    assert (read.run_id, read.map_index) == ("r\n/s", 1)


@pytest.mark.parametrize("database", DATABASES)
def test_headers_and_failures_by_hand_are_no_lineage(engine: Engine, database: str) -> None:
    assert engine.dialect.name == database
    with engine.begin() as connection:
        for headers in ('{"dag_id": 7, "run_id": [], "task_id": {}}', "[1]", '{"dag_id": "d"}'):
            row = rows.row(headers=f"'{headers}'", failures="""'[{"attempt": {}}, 7]'""")
            row.write(connection)
    observer = patient_observer(engine)

    lives = [observer.message(message.id) for message in observer.search("").messages]

    assert [life.producer for life in lives if life is not None] == [None] * 3
    assert [len(life.moments) for life in lives if life is not None] == [1] * 3


def claimed(queue: Queue, **options: Any) -> Claim:
    claim = queue.claim(**options)
    assert claim is not None
    return claim
