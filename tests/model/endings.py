"""How an interleaving has left the tables, as far as its end can tell.

To drain what is left takes most of the statements of an interleaving, and hundreds of interleavings
leave the same. What comes of it hangs on all columns of all rows, on the order in which they lie,
and on what the ledger goes by, but not on the very ids, tokens and times. Ids count by their order,
tokens by who shares them, and times by the whole hours from now and by their order, also within
the hour: all that statements and ledgers add to a time are whole hours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, RowMapping, text

from xclaim.sql.schema import message_table, queue_table, slot_table

V = TypeVar("V", int, datetime, timedelta)
Place = Callable[[int], int]

_NAMES = [table.name for table in (message_table(), queue_table(), slot_table())]
_NOW = "now"
_IDS = {"id", "awaited_ids", "message_id"}
_HOUR = timedelta(hours=1)
_SOON = timedelta(minutes=1)  # what is due by then may come while the end is judged
# Whatever columns there are.
_ALL = text(
    " UNION ALL ".join(
        f"SELECT '{name}' AS of, to_jsonb(each) AS row"
        f" FROM (SELECT * FROM {name} ORDER BY ctid) AS each"
        for name in _NAMES
    )
    + f" UNION ALL SELECT '{_NOW}', jsonb_build_object('{_NOW}', clock_timestamp())"
)
_ALL_OF_SQLITE = {name: text(f"SELECT * FROM {name} ORDER BY rowid") for name in _NAMES} | {
    _NOW: text(f"SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS {_NOW}")
}
Leaf = tuple[str, Any]  # a value, and the name of its column or key


class Judge(Protocol):
    """What is asked of the ledger that judges the end."""

    def ids(self) -> Iterable[int]:
        """Return the messages that it knows of."""

    def goes_by(self, place: Place) -> Hashable:
        """Return what it goes by besides the tables, with the places of messages for their ids."""


def left(connection: Connection, judge: Judge) -> Hashable:
    """Return what is left, the same for ends that nothing tells apart."""
    rows = [list(_leaves(name, row)) for name, row in _read(connection)]
    names = _Names([leaf for row in rows for leaf in row], judge.ids())
    return tuple(tuple(map(names.renamed, row)) for row in rows), judge.goes_by(names.place)


class _Names:
    """What stands for ids, tokens and times."""

    def __init__(self, leaves: Iterable[Leaf], ids: Iterable[int]) -> None:
        found = list(leaves)
        times = [_time(value) for name, value in found if _is_time(name, value)]
        (self._now,) = [_time(value) for name, value in found if name == _NOW]
        self._times = places([*times, self._now])
        self._within = places([*map(self._within_an_hour, self._times), _SOON])
        self._ids = places([*ids, *[value for name, value in found if _is_id(name, value)]])
        self._tokens: dict[str, int] = {}

    def place(self, id_: int) -> int:
        """Return the place of an id among all."""
        return self._ids[id_]

    def renamed(self, leaf: Leaf) -> Leaf:
        """Return what stands for a value, or the value."""
        name, value = leaf
        if _is_id(name, value):
            return name, self.place(value)
        if _is_time(name, value):
            time = _time(value)
            hours = (time - self._now) // _HOUR
            return name, (hours, self._times[time], self._within[self._within_an_hour(time)])
        if name == "claim_token" and value is not None:
            return name, self._tokens.setdefault(value, len(self._tokens))
        return name, value

    def _within_an_hour(self, time: datetime) -> timedelta:
        return (time - self._now) % _HOUR


def _read(connection: Connection) -> Iterator[tuple[str, Any]]:
    if connection.dialect.name != "sqlite":
        for name, row in connection.execute(_ALL):
            yield name, row
        return
    for name, statement in _ALL_OF_SQLITE.items():
        for row in connection.execute(statement).mappings():
            yield name, {**row, **_failures(row)}


def _failures(row: RowMapping) -> dict[str, Any]:
    return {"failures": json.loads(row["failures"])} if row.get("failures") else {}


def _leaves(name: str, value: Any) -> Iterator[Leaf]:
    """Return all values in a row, and how many there are of each object and list."""
    if isinstance(value, dict | list):
        yield f"{name} of", len(value)
        pairs = value.items() if isinstance(value, dict) else [(name, each) for each in value]
        for key, each in pairs:
            yield from _leaves(key, each)
    else:
        yield name, value


def _is_id(name: str, value: Any) -> bool:
    return name in _IDS and isinstance(value, int)


def _is_time(name: str, value: Any) -> bool:
    return isinstance(value, str) and (name in {"at", _NOW} or name.endswith("_at"))


def _time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def places(values: Iterable[V]) -> dict[V, int]:
    """Return the place of each value in their order; equal ones share it."""
    return {value: place for place, value in enumerate(sorted(set(values)))}
