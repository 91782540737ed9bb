"""Statements of SQLite by Python's driver alone.

It is given values by their places, because it looks each name up in each execution. And rows with
names are read by what their columns are, whatever the row has: times and tokens from text, text
from bytes. Those without names are as the driver gives them: who makes many messages of them reads
what is asked for.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from sqlite3 import OperationalError
from typing import Any

from sqlalchemy import Dialect, Text, Uuid, make_url

from xclaim.connections.busy_files import is_closed
from xclaim.connections.placeholders import by_place
from xclaim.sql.dialects import UtcTimestamp, text_of, time_of, token_of
from xclaim.sql.schema import message_table, queue_table, slot_table

Row = Sequence[Any]
_Reader = Callable[[Any], Any]

_READERS: dict[type, _Reader] = {Text: text_of, UtcTimestamp: time_of, Uuid: token_of}


class Sent:
    """A statement as it is sent, and how its rows are read, which its first answer tells."""

    __slots__ = ("_constants", "_reading", "_tokens", "_values", "text")

    def __init__(self, statement: Any) -> None:
        compiled = statement.compile(dialect=_dialect())
        self.text, names = by_place(str(compiled), "?")
        given = {name: value for name, value in compiled.params.items() if value is not None}
        self._constants: Mapping[str, Any] = given
        self._values = _getter(names)
        types = {name: bound.type for bound, name in compiled.bind_names.items()}
        self._tokens = [place for place, name in enumerate(names) if isinstance(types[name], Uuid)]
        self._reading: _Reading | None = None

    def run(self, driver: Any, parameters: Mapping[str, Any], *, named: bool) -> Sequence[Any]:
        """Run it and return all its rows: with names and read, or as they are."""
        cursor = driver.execute(self.text, self._given(parameters))
        rows: list[Row] = cursor.fetchall()
        if not named:
            return rows
        if self._reading is None:
            self._reading = _Reading(cursor.description)
        return self._reading.rows(rows)

    async def run_in_its_thread(
        self, driver: Any, parameters: Mapping[str, Any], *, named: bool
    ) -> Sequence[Any]:
        """Run it on a connection of aiosqlite, whose thread is gone to once, not for each step."""
        given = self._given(parameters)
        try:
            if named and self._reading is None:  # what the columns are only a cursor says
                async with driver.execute(self.text, given) as cursor:
                    self._reading = _Reading(cursor.description)
                    return self._reading.rows(await cursor.fetchall())
            rows: list[Row] = await driver.execute_fetchall(self.text, given)
        except ValueError as error:
            if is_closed(driver):  # SQLAlchemy says the same, and knows it for a lost connection
                raise OperationalError("no active connection") from error
            raise
        return rows if self._reading is None or not named else self._reading.rows(rows)

    def _given(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        if self._constants:
            parameters = {**self._constants, **parameters}
        values = self._values(parameters)
        if self._tokens:
            values = list(values)
            for place in self._tokens:
                values[place] = values[place].hex
        return values


class _Reading:
    """How the rows of one statement are read."""

    __slots__ = ("_columns", "_named")

    def __init__(self, description: Sequence[Sequence[Any]] | None) -> None:
        names = [column[0] for column in description or ()]
        row_type: Any = namedtuple("Row", names)  # type: ignore[misc]  # known only here
        self._named: Callable[[Iterable[Any]], Row] = row_type._make
        columns = [
            column
            for table in (message_table(), queue_table(), slot_table())
            for column in table.columns
        ]
        types = {column.name: column.type for column in columns}
        found = [_READERS.get(type(types[name])) if name in types else text_of for name in names]
        self._columns = [(place, each) for place, each in enumerate(found) if each is not None]

    def rows(self, rows: Iterable[Row]) -> Sequence[Row]:
        """Return the rows that the driver has given."""
        found = map(self._read, rows) if self._columns else rows
        return [self._named(row) for row in found]

    def _read(self, row: Row) -> Row:
        values = list(row)
        for place, reader in self._columns:
            value = values[place]
            if value is not None:
                values[place] = reader(value)
        return values


@lru_cache(512)
def sent(statement: Any) -> Sent:
    """Return a statement as it is sent; it is compiled when it is first asked for."""
    return Sent(statement)


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    match names:
        case []:
            return lambda _: ()
        case [name]:
            return lambda parameters: (parameters[name],)
        case _:
            return itemgetter(*names)


@lru_cache
def _dialect() -> Dialect:
    sqlite: Callable[..., Dialect] = make_url("sqlite://").get_dialect()
    return sqlite(paramstyle="pyformat")
