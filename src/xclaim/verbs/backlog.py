"""How many messages may wait in a queue: set, asked, and asked before a push.

A push must not cost a statement more where no limit is set. So the first push of a second inserts
only where there is none, which it tells by what it has inserted. Where there is a limit the setting
and the messages are counted, at most once a second for a queue, and somewhat more often while it is
full; in between each process adds what it has pushed itself. What others push meanwhile it does not
know: that is by how much more than ``max_backlog`` may wait.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool

from xclaim import arguments
from xclaim.arguments import OnFull
from xclaim.connections.autocommit import is_autocommit
from xclaim.errors import InvalidArgumentError, QueueFullError
from xclaim.limits import Backlog
from xclaim.sql import statements
from xclaim.verb import Verb
from xclaim.verbs.execution import execute
from xclaim.verbs.hints import recent
from xclaim.verbs.ordering import is_enabled

_ASKED_EVERY = 1.0  # seconds, of a queue: so long a new limit may go unnoticed
_FULL_ASKED_EVERY = 0.1  # seconds, of a queue that was full; longer where the count takes long
_SHARE_OF_COUNTS = 0.1  # of its time, that a producer without room counts at most
_ORDERING_ASKED_EVERY = 30.0  # seconds, of a database that has it


def limit_backlog(
    connection: Connection,
    queue: str,
    *,
    max_backlog: int | None,
    on_full: OnFull = "raise",
    by: str | None = None,
    schema: str | None = None,
) -> None:
    """Let so many messages wait in the queue, and a push do that when there are; None: any number.

    What waits already stays, also if it is more. ``by``: who is named in the log, by default who
    runs this process.
    """
    name = arguments.pushable(arguments.queue_name(queue))
    arguments.optional_key("by", by)
    if arguments.optional_on_full(on_full) is None:
        raise InvalidArgumentError("on_full must be 'raise', 'wait' or 'skip', not None")
    most = arguments.optional_max_backlog(max_backlog)
    parameters = {
        "queue_name": name,
        "max_backlog": most,
        "on_full": None if most is None else on_full,
    }
    execute(connection, schema, statements.set_backlog, parameters)
    _forget(connection, schema, name)


def backlog(connection: Connection, queue: str, *, schema: str | None = None) -> Backlog:
    """Return how many messages may wait in the queue, and how many do, counted to one more."""
    return backlog_of(connection, arguments.queue_name(queue), schema=schema)


def backlog_of(connection: Connection, name: str, *, schema: str | None) -> Backlog:
    """Return the same of a queue of any name, also of one that only a hand has written."""
    row = _counted(connection, schema, name, None)
    if row.max_backlog is None:
        return Backlog()
    waiting = min(row.waiting, row.max_backlog + 1)
    return Backlog(max_backlog=row.max_backlog, on_full=row.on_full, waiting=waiting)


def has_room(
    connection: Connection,
    queue: str,
    count: int,
    *,
    max_backlog: int | None = None,
    schema: str | None = None,
) -> bool:
    """Return whether there is room for so many more messages, as was known within a second."""
    return Gate(connection, schema, queue, max_backlog, None).has_room(count)


@dataclass(slots=True)
class _Known:
    """What one process knows of one queue, for all its threads.

    ``since`` was pushed from here, or is being, after it was counted; ``in_flight`` is being. Of
    each count that runs ``counts`` has what it may not see: what was in flight when it began, and
    what was reserved since. ``took``: seconds, of the last count.
    """

    limit: int | None = None
    on_full: OnFull = "raise"
    waiting: int | None = None
    counted_to: int = 0
    asked_at: float = float("-inf")
    took: float = 0.0
    is_answered: bool = False
    since: int = 0
    in_flight: int = 0
    counts: list[list[int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_fresh(self) -> bool:
        """Return whether it was asked for within a second."""
        return self.is_answered and time.monotonic() - self.asked_at < _ASKED_EVERY

    def is_enough(self, most: int) -> bool:
        """Return whether it was counted far enough to say whether so many wait."""
        return self.waiting is not None and (
            self.waiting < self.counted_to or most < self.counted_to
        )

    def takes_turn(self, most: int | None) -> bool:
        """Return whether to ask now: not while another thread does, if what it knew will do."""
        with self.lock:
            if self.is_fresh() and (most is None or self.is_enough(most)):
                return False
            self.asked_at = time.monotonic()
            return True

    def takes_second_turn(self) -> bool:
        """Return whether to count again before a push is refused: there may be room by now."""
        with self.lock:
            age = time.monotonic() - self.asked_at
            if age < max(_FULL_ASKED_EVERY, self.took / _SHARE_OF_COUNTS):
                return False
            self.asked_at = time.monotonic()
            return True

    def begin_count(self) -> list[int]:
        """Note that it is counted from now on."""
        with self.lock:
            unseen = [self.in_flight]
            self.counts.append(unseen)
            return unseen

    def end_count(self, unseen: list[int]) -> None:
        """Note that this count has ended."""
        with self.lock:
            self.counts = [each for each in self.counts if each is not unseen]

    def answer(
        self,
        limit: int | None,
        on_full: OnFull | None,
        waiting: int | None,
        to: int,
        unseen: list[int] | None = None,
    ) -> None:
        """Note what the database says."""
        with self.lock:
            self.limit, self.on_full = limit, on_full or "raise"
            self.waiting, self.counted_to = waiting, to
            self.since = self.in_flight if unseen is None else unseen[0]
            self.is_answered = True

    def waits(self) -> int:
        """Return how many messages wait, as far as is known here."""
        return (self.waiting or 0) + self.since

    def reserve(self, count: int, most: int) -> bool:
        """Return whether there is room for so many, which it is then for nobody else here."""
        with self.lock:
            if count and self.waits() + count > most:
                return False
            self._add(count)
            self.in_flight += count
            return True

    def add(self, count: int) -> None:
        """Note that so many were pushed that needed no room."""
        with self.lock:
            self._add(count)

    def settle(self, reserved: int, pushed: int) -> None:
        """Note how many were pushed of those that there was room for."""
        with self.lock:
            self.in_flight -= reserved
            self._add(pushed - reserved)

    def _add(self, count: int) -> None:
        self.since += count
        for unseen in self.counts:
            unseen[0] += count


_Key = tuple[str | None, str, bool]
_known: WeakKeyDictionary[Pool, OrderedDict[_Key, _Known]] = WeakKeyDictionary()
_ordering: WeakKeyDictionary[Pool, dict[str | None, float]] = WeakKeyDictionary()


class Gate:
    """Whether a push may push: by the argument of the call, else by the queue's setting."""

    def __init__(
        self,
        connection: Connection,
        schema: str | None,
        queue: str,
        max_backlog: int | None,
        on_full: OnFull | None,
    ) -> None:
        self._connection, self._schema, self._queue = connection, schema, queue
        self._asked = arguments.optional_max_backlog(max_backlog)
        self._on_full = arguments.optional_on_full(on_full)
        self._known = _recall(connection, schema, queue)

    def is_unknown(self) -> bool:
        """Return whether a push has to find out if there is a limit at all."""
        return self._asked is None and not self._known.is_fresh()

    def is_open(self) -> bool:
        """Return whether any number may wait, as is known by now."""
        known = self._known
        return self._asked is None and known.is_fresh() and known.limit is None

    def note_pushed(self, count: int) -> None:
        """Note that so many were pushed that needed no room: the next call may have a limit."""
        self._known.add(count)

    def note_unlimited(self) -> None:
        """Note that there is none: something was inserted that would not have been."""
        self._known.asked_at = time.monotonic()
        self._known.answer(None, None, None, 0)

    @contextmanager
    def room(self, count: int, new: Callable[[], int] | None) -> Iterator[Callable[[int], None]]:
        """Hold room for so many messages while they are pushed. Raise QueueFullError without it.

        ``new`` says how many of them are not there already, which are the only ones that need room.
        Tell what is yielded how many were pushed; else it was none.
        """
        known = self._known
        most = self._most()
        if most is not None and not known.reserve(count, most):
            count = count if new is None else new()
            if not known.reserve(count, most):
                most = self._most_by_now()
                if most is not None and not known.reserve(count, most):
                    raise self._full(most, count)
        if most is None:
            yield self.note_pushed
            return
        pushed: list[int] = []
        try:
            yield pushed.append
        finally:
            known.settle(count, sum(pushed))

    def has_room(self, count: int) -> bool:
        """Return whether there is room for so many now."""
        if self._has_room(self._most(), count):
            return True
        return self._has_room(self._most_by_now(), count)

    def _has_room(self, most: int | None, count: int) -> bool:
        return most is None or self._known.waits() + count <= most

    def _most(self) -> int | None:
        """Return how many may wait, and know by then how many do; None for any number."""
        known = self._known
        if self.is_open():
            return None
        if known.takes_turn(known.limit if self._asked is None else self._asked):
            self._ask()
        return self._asked or known.limit

    def _most_by_now(self) -> int | None:
        """Return it again before a push is refused: others may have made room since."""
        if self._known.takes_second_turn():
            self._ask()
        return self._asked or self._known.limit

    def _ask(self) -> None:
        known = self._known
        unseen = known.begin_count()
        begun_at = time.monotonic()
        try:
            row = _counted(self._connection, self._schema, self._queue, self._asked)
            to = (self._asked or row.max_backlog or -1) + 1
            waiting = None if self._asked is None and row.max_backlog is None else row.waiting
            known.answer(row.max_backlog, row.on_full, waiting, to, unseen)
            known.took = time.monotonic() - begun_at
        except BaseException:
            known.asked_at = float("-inf")
            raise
        finally:
            known.end_count(unseen)

    def _full(self, most: int, count: int) -> QueueFullError:
        known = self._known
        waiting = min(known.waits(), most + 1)
        on_full = self._on_full or known.on_full
        return QueueFullError(self._queue, most, waiting, count=count, on_full=on_full)


def _counted(connection: Connection, schema: str | None, queue: str, asked: int | None) -> Any:
    build = partial(statements.backlog, in_line=_has_lines(connection, schema))
    (row,) = execute(connection, schema, build, {"queue_name": queue, "asked_backlog": asked})
    return row


def _has_lines(connection: Connection, schema: str | None) -> bool:
    """Return whether messages may stand in line: without the index of these all would be read."""
    until = _ordering.setdefault(connection.engine.pool, {})
    now = time.monotonic()
    if now < until.get(schema, float("-inf")):
        return True
    enabled = is_enabled(connection, schema)
    if enabled:
        until[schema] = now + _ORDERING_ASKED_EVERY
    return enabled


def _recall(connection: Connection, schema: str | None, queue: str) -> _Known:
    # What a transaction of the caller sees may be old, or rolled back.
    key = (schema, queue, is_autocommit(connection))
    of_pool = _known.get(connection.engine.pool)
    if of_pool is None:
        of_pool = _known.setdefault(connection.engine.pool, OrderedDict())
    return recent(of_pool, key, _Known)


def _forget(connection: Connection, schema: str | None, queue: str) -> None:
    of_pool: Any = _known.get(connection.engine.pool, {})
    for is_own in (False, True):
        of_pool.pop((schema, queue, is_own), None)


if hasattr(os, "register_at_fork"):  # what other threads of the parent were pushing nobody settles
    os.register_at_fork(after_in_child=_known.clear)


LIMIT_BACKLOG = Verb(function=limit_backlog)
BACKLOG = Verb(function=backlog, reads=True)
HAS_ROOM = Verb(function=has_room, reads=True)
