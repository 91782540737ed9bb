"""Where the table and its functions are: in a schema that is named, or found by the search path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from xclaim import Queue, create_engine
from xclaim.operations import migrate

SCHEMA = 'the "queue\'s" of $$ %s {schema}'
AS_IS = {"no_parameters": True}


def quoted(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database, and the schema in it if that is named."""

    engine: Engine
    schema: str | None

    def queue(self, bind: Any = None, name: str = "orders") -> Queue:
        """Return a queue there."""
        return Queue(name, self.engine if bind is None else bind, schema=self.schema)

    def call(self, connection: Connection, sql: str, given: tuple[Any, ...] = ()) -> list[Any]:
        """Run SQL in which our names stand without the schema."""
        home = "" if self.schema is None else f"{quoted(self.schema).replace('%', '%%')}."
        found = connection.exec_driver_sql(sql.replace("xclaim_", f"{home}xclaim_"), given)
        return list(found.all())

    def rows(self, connection: Connection) -> list[dict[str, Any]]:
        """Return all messages, by id, each with what time it is."""
        sql = "SELECT *, statement_timestamp() AS now FROM xclaim_message ORDER BY id"
        return [dict(row._mapping) for row in self.call(connection, sql)]


@contextmanager
def placed(url: str, schema: str | None) -> Iterator[Place]:
    """Yield a migrated place: the database as it is, or a new schema in it."""
    engine = create_engine(url)
    try:
        if schema is not None:
            with engine.begin() as connection:
                make = f"CREATE SCHEMA {quoted(schema)}"
                connection.exec_driver_sql(make, execution_options=AS_IS)
            migrate.upgrade(engine, schema=schema)
        yield Place(engine=engine, schema=schema)
    finally:
        engine.dispose()
