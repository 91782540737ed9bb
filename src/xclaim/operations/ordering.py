"""Make what ordering keys need in a database, and take it away again."""

from __future__ import annotations

from sqlalchemy import Connection

from xclaim.connections import direct
from xclaim.errors import InvalidArgumentError
from xclaim.operations.migrate import Bind, check, placed, turn
from xclaim.sql import ordering
from xclaim.sql.dialects import POSTGRESQL, SQLITE, Dialect, dialect_of
from xclaim.sql.statements import diagnosing, still_ordered
from xclaim.verbs import schema_on
from xclaim.verbs.execution import execute
from xclaim.verbs.ordering import is_enabled, refuse_two_leaders

__all__ = ["disable", "enable", "is_enabled", "missing_parts"]

_ON_CITUS = (
    "ordering keys need triggers, and a table that Citus distributes has none: they are not to be "
    "had there"
)


def enable(bind: Bind, *, schema: str | None = None) -> bool:
    """Make the indexes, triggers and functions of ordering keys; return whether any was missing.

    In one transaction, by the owner of the table. It reads the table once for its indexes, and
    nobody writes to it meanwhile. On a connection that is passed in the caller commits. Raise
    SchemaVersionError unless the schema is the one this xclaim needs, InvalidArgumentError where
    two messages of a key lead its line already.
    """
    with turn(bind) as connection:
        resolved = schema_on(connection, schema)
        check(connection, schema=resolved)
        if not missing_parts(connection, resolved):
            return False
        refuse_two_leaders(connection, resolved)
        dialect = dialect_of(connection.dialect.name)
        if dialect is POSTGRESQL and _is_distributed(connection, resolved):
            raise InvalidArgumentError(_ON_CITUS)
        with placed(connection, resolved) as place:
            _run(connection, ordering.disabling(dialect, place))
            _run(connection, ordering.enabling(dialect, place))
    return True


def disable(bind: Bind, *, schema: str | None = None) -> bool:
    """Take away what ``enable`` has made; return whether it was there.

    Raise InvalidArgumentError as long as messages that are not consumed have ordering keys.
    """
    with turn(bind) as connection:
        resolved = schema_on(connection, schema)
        if not is_enabled(connection, resolved):
            return False
        dialect = dialect_of(connection.dialect.name)
        with placed(connection, resolved) as place:
            _refuse_lines(connection, place, dialect)
            _run(connection, ordering.disabling(dialect, place))
    return True


def missing_parts(connection: Connection, schema: str | None) -> list[str]:
    """Return the names of what ordering keys need and the database has not, or not valid."""
    if connection.dialect.name == SQLITE.name:
        wanted = {*ordering.INDEXES, *ordering.SQLITE_TRIGGERS}
        rows = connection.exec_driver_sql("SELECT name FROM sqlite_master").all()
    else:
        triggers = {f"trigger {name}" for name in ordering.TRIGGERS}
        wanted = {*ordering.INDEXES, *triggers, *ordering.FUNCTIONS}
        rows = list(direct.run(connection, diagnosing.parts(), {"schema": schema}))
    return sorted(wanted - {row.name for row in rows})


def _is_distributed(connection: Connection, schema: str | None) -> bool:
    if not direct.run(connection, diagnosing.citus(), {}):
        return False
    return bool(direct.run(connection, diagnosing.citus_nodes(), {"schema": schema}))


def _refuse_lines(connection: Connection, schema: str | None, dialect: Dialect) -> None:
    if dialect is POSTGRESQL:  # nobody pushes behind what is counted
        _run(connection, [ordering.locking(schema)])
    for found in execute(connection, schema, still_ordered, {}):
        raise InvalidArgumentError(
            f"message {found.id} in {found.queue!r} has an ordering key and is not consumed: "
            "consume or withdraw what has one before ordering is disabled"
        )


def _run(connection: Connection, statements: list[str]) -> None:
    # psycopg reads a % as the begin of a parameter; SQLite's module takes it as it stands.
    percent = "%%" if connection.dialect.name == POSTGRESQL.name else "%"
    for statement in statements:
        connection.exec_driver_sql(statement.replace("%", percent))
