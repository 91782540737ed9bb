"""Where sessions meet: a database that can be set again and again, and says who waits for whom."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.pool import NullPool

from tests.model import real_table
from tests.model.model import Table
from tests.model.scenes import QUEUE, SCENES
from tests.model.sessions import Outcome, Session
from tests.model.slots import SCENES as SLOT_SCENES
from tests.model.turns import SCENES as TURN_SCENES
from tests.retrying import AT_ONCE
from xclaim import Claim, Queue, create_engine
from xclaim.operations import ordering
from xclaim.sql.schema import TABLE_NAME, message_table, queue_table, slot_table
from xclaim.verbs import hints

_COLUMNS = ", ".join(column.name for column in message_table().columns)
_SCENES = {**SCENES, **TURN_SCENES, **SLOT_SCENES}
# What a queue has besides messages: its settings, and the slots of its limits.
_OF_QUEUES = (queue_table(), slot_table())
_numbers = itertools.count()
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.02  # seconds between two looks at who waits for whom
_STATEMENT_TIMEOUT = "-c statement_timeout=120s"  # no statement takes a second: it would be a bug
_TRUNCATE_EVERY = 250  # scenes: dead rows and index entries would slow the next ones down
_MOST_SESSIONS = 3
_AGO = timedelta(hours=6)  # is long enough for a pause to be over, and a lease of a day is not
# Any other waits (for an autovacuum, say) end by themselves.
_ALL_WAIT_FOR_US = text(
    "SELECT bool_and(pg_blocking_pids(pid) && CAST(:ours AS integer[]))"
    " FROM unnest(CAST(:running AS integer[])) AS pid"
)
_IS_CONNECTED = text("SELECT EXISTS (SELECT FROM pg_stat_get_activity(:pid))")
_TERMINATE = text("SELECT pg_terminate_backend(:pid)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A scene as it was made in this database, to be restored before each interleaving."""

    name: str
    claim: Claim
    copy: str
    of_queues: Mapping[str, str]  # the copies of other tables, by their names


class Stage:
    """SQLite: one transaction at a time, so that a session with an open one goes on alone."""

    is_serial = True

    def __init__(self, url: str, **options: Any) -> None:
        self.engine = self._connected(create_engine(url, poolclass=NullPool, **options))
        self.observer = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # An engine each: what a process remembers of a queue is shared by its pool.
        self.sessions = [
            Session(self._connected(create_engine(url, poolclass=NullPool, **options)))
            for _ in range(_MOST_SESSIONS)
        ]
        self.judged: set[Hashable] = set()  # how interleavings have ended
        self.judges_each_end = False  # also those that nothing tells apart from one before
        self._outcomes: dict[int, Outcome] = {}
        self._settings: dict[str, Setting] = {}
        self._is_limited = False  # by the scene that was restored last

    def setting(self, scene: str) -> Setting:
        """Make the scene with the verbs themselves, once, and keep a copy."""
        if scene not in self._settings:
            self._empty_all()
            hints._remembered.clear()
            if scene in TURN_SCENES:
                ordering.enable(self.engine)
            claim = _SCENES[scene](Queue(QUEUE, self.observer, retry=AT_ONCE))
            real_table.age(self.observer, _AGO)
            copy = f"scene_{next(_numbers)}"  # two stages can share a database
            self.observer.execute(text(f"CREATE TABLE {copy} AS SELECT * FROM {TABLE_NAME}"))
            of_queues = self._copies(copy) if scene in SLOT_SCENES else {}
            setting = Setting(name=scene, claim=claim, copy=copy, of_queues=of_queues)
            self._settings[scene] = setting
        return self._settings[scene]

    def reset(self, setting: Setting) -> None:
        """Restore the scene."""
        # Whether a claim gives back what lapsed must not depend on what went before.
        hints._remembered.clear()
        self._outcomes.clear()
        statements = [self._emptying(), self._restore.format(copy=setting.copy)]
        if setting.of_queues or self._is_limited:
            statements += [f"DELETE FROM {table.name}" for table in _OF_QUEUES]
        statements += [
            f"INSERT INTO {name} SELECT * FROM {copy}" for name, copy in setting.of_queues.items()
        ]
        self._perform(statements)
        self._is_limited = bool(setting.of_queues)

    def _copies(self, copy: str) -> Mapping[str, str]:
        copies = {table.name: f"{copy}_{table.name}" for table in _OF_QUEUES}
        for name, of_table in copies.items():
            self.observer.execute(text(f"CREATE TABLE {of_table} AS SELECT * FROM {name}"))
        self._is_limited = True
        return copies

    def _empty_all(self) -> None:
        for name in (TABLE_NAME, *[table.name for table in _OF_QUEUES]):
            self.observer.execute(text(f"DELETE FROM {name}"))

    def read(self) -> Table:
        """Return what is committed."""
        return real_table.read(self.observer)

    def start(self, number: int, verb: Callable[[Connection], object]) -> None:
        """Let a session begin its transaction and do its verb."""
        self._outcomes[number] = self.sessions[number].perform(verb)

    def settle(self, *, expects_all: bool) -> bool:
        """Wait until every session has done its verb, or waits for another one: then return False.

        ``expects_all``: in the same steps nobody has waited, so that it is asked for seldom.
        """
        return True

    def outcome(self, number: int) -> Outcome | None:
        """Return what came of a verb; None while it waits."""
        return self._outcomes.get(number)

    def commit(self, number: int) -> None:
        """Commit what a session did."""
        self.sessions[number].commit()

    def crash(self, number: int) -> None:
        """Let a session die."""
        self.sessions[number].crash()

    def abandon(self) -> None:
        """End all sessions, whatever they are doing."""
        for session in self.sessions:
            session.crash()

    def close(self) -> None:
        """Close all connections."""
        self.abandon()
        self.observer.close()

    _restore = f"INSERT INTO {TABLE_NAME} ({_COLUMNS}) SELECT {_COLUMNS} FROM {{copy}}"

    def _emptying(self) -> str:
        return f"DELETE FROM {TABLE_NAME}"

    def _perform(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self.observer.exec_driver_sql(statement)

    def _connected(self, engine: Engine) -> Engine:
        # The machine does not crash, and each interleaving commits a few times.
        @event.listens_for(engine, "connect")
        def hurry(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("PRAGMA busy_timeout=0")  # nobody is there to wait for

        return engine


class PostgresqlStage(Stage):
    """PostgreSQL: a thread for each session, because a verb may wait for a lock."""

    is_serial = False

    def __init__(self, url: str, *, rolls_back: bool = False) -> None:
        super().__init__(url, connect_args={"options": _STATEMENT_TIMEOUT})
        self._rolls_back = rolls_back
        self._threads = ThreadPoolExecutor(_MOST_SESSIONS)
        self._running: dict[int, Future[Outcome]] = {}
        self._restored = 0

    def start(self, number: int, verb: Callable[[Connection], object]) -> None:
        """Let a session begin its transaction and do its verb, in a thread."""
        self._running[number] = self._threads.submit(self.sessions[number].perform, verb)

    def settle(self, *, expects_all: bool) -> bool:
        """Wait until every session has done its verb, or waits for a lock: then return False."""
        pause = _LONGEST_PAUSE if expects_all else _FIRST_PAUSE
        while self._running:
            wait(self._running.values(), timeout=pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            # In this order: whoever is done by now has let go of its locks before we ask.
            for number in [n for n, future in self._running.items() if future.done()]:
                self._outcomes[number] = self._running.pop(number).result()
            if self._running and self._all_wait():
                return False
        return True

    def crash(self, number: int) -> None:
        """Let a session die."""
        if self._rolls_back:
            self.sessions[number].roll_back()
        else:
            pid = self.sessions[number].pid
            super().crash(number)
            while self.observer.scalar(_IS_CONNECTED, {"pid": pid}):
                pass  # it has not noticed yet

    def abandon(self) -> None:
        """End all sessions, also those that wait for each other."""
        for session in self.sessions:
            if session.pid is not None:
                self.observer.execute(_TERMINATE, {"pid": session.pid})
        wait(self._running.values())
        self._running.clear()
        super().abandon()

    def close(self) -> None:
        """Close all connections, and end the threads."""
        super().close()
        self._threads.shutdown()

    _restore = (
        f"INSERT INTO {TABLE_NAME} ({_COLUMNS}) OVERRIDING SYSTEM VALUE"
        f" SELECT {_COLUMNS} FROM {{copy}}"
    )

    def _all_wait(self) -> bool:
        running = [self.sessions[number].pid for number in self._running]
        if None in running:
            return False  # it is still connecting
        ours = [session.pid for session in self.sessions if session.pid is not None]
        return bool(self.observer.scalar(_ALL_WAIT_FOR_US, {"ours": ours, "running": running}))

    def _emptying(self) -> str:
        self._restored += 1
        if self._restored % _TRUNCATE_EVERY == 0:
            return f"TRUNCATE {TABLE_NAME}"
        return super()._emptying()

    def _perform(self, statements: Sequence[str]) -> None:
        self.observer.exec_driver_sql("; ".join(statements))  # one round trip, and one commit

    def _connected(self, engine: Engine) -> Engine:
        return engine


def stage_on(url: str, *, rolls_back: bool = False) -> Stage:
    """Return the stage for a database. ``rolls_back``: a crash is a ROLLBACK, on PostgreSQL."""
    if url.startswith("sqlite"):
        return Stage(url)
    return PostgresqlStage(url, rolls_back=rolls_back)
