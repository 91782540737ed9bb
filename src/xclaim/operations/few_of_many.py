"""What is wrong in queues, by a bounded number of messages of each: for whoever waits for a page.

To count what failed or died reads all that waits, for minutes where there are millions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.sql.dialects import dialect_of
from xclaim.sql.statements import examining
from xclaim.sql.statements.observing_messages import next_queue
from xclaim.sql.statements.observing_walks import Walk
from xclaim.verbs.execution import Build
from xclaim.verbs.unsendable import shown

MOST_QUEUES = 1_000  # the first by name
_MESSAGES = 10_000  # of all queues together, from both ends
_FEWEST, _MOST = 5, 500  # of each, from either end


@dataclass(frozen=True, slots=True, kw_only=True)
class Few:
    """What was counted among the ``first`` and as many of the last messages of each queue.

    ``looked_at`` of a row is how many that were of its queue. ``is_cut``: there are more queues.
    """

    rows: Sequence[Any] = ()
    first: int = 0  # all of them
    is_cut: bool = False

    def may_be_more(self, row: Any) -> bool:
        """Return whether its queue may have more than was looked at."""
        return bool(self.first) and row.looked_at >= 2 * self.first


EVERY = Few()  # all messages were counted


def stuck_claims(connection: Connection, schema: str | None, parameters: Mapping[str, Any]) -> Few:
    """Return what ``statements.stuck_claims`` counts, of few claims of each queue."""
    names = _names(connection, schema, Walk.HELD)
    return _few(connection, schema, examining.stuck_claims, names, parameters)


def failing_queues(connection: Connection, schema: str | None) -> Few:
    """Return what ``statements.failing_queues`` counts, of few messages of each queue."""
    names = _names(connection, schema, Walk.WAITING)
    alive = names.those(lambda name: not name.endswith(DEAD_LETTER_SUFFIX))
    return _few(connection, schema, examining.failing_queues, alive, {})


def dead_letters(connection: Connection, schema: str | None) -> Few:
    """Return what ``statements.dead_letters`` counts, of few letters of each queue."""
    names = _names(connection, schema, Walk.WAITING)
    dead = names.those(lambda name: name.endswith(DEAD_LETTER_SUFFIX))
    return _few(connection, schema, examining.dead_letters, dead, {})


class _Names(NamedTuple):
    """Names of queues, and whether there are others."""

    first: list[str]
    is_cut: bool

    def those(self, are_meant: Callable[[str], bool]) -> _Names:
        return _Names([name for name in self.first if are_meant(name)], self.is_cut)


def _names(connection: Connection, schema: str | None, walk: Walk) -> _Names:
    most = 2 * MOST_QUEUES  # with those of their dead letters
    parameters = {"queue_name": "", "message_limit": most + 1}
    found = shown(connection, schema, partial(next_queue, walk=walk), parameters)
    return _Names([row.queue for row in found], is_cut=len(found) > most)


def _few(
    connection: Connection,
    schema: str | None,
    build: Build,
    names: _Names,
    parameters: Mapping[str, Any],
) -> Few:
    looked = names.first[:MOST_QUEUES]
    first = min(max(_MESSAGES // (2 * max(len(looked), 1)), _FEWEST), _MOST)
    rows: list[Any] = []
    for each in _asked(connection, looked):
        rows += shown(connection, schema, build, {**parameters, **each, "look": first})
    is_cut = names.is_cut or len(names.first) > MOST_QUEUES
    return Few(rows=rows, first=first, is_cut=is_cut)


def _asked(connection: Connection, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    dialect = dialect_of(connection.dialect.name)
    if not dialect.has_lateral:
        yield from ({"queue_name": name} for name in names)
    elif names:
        yield dialect.row_parameters(queue=list(names))
