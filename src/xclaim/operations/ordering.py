"""Make what ordering keys need in a database, and take it away again."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

from xclaim.connections import direct
from xclaim.errors import InvalidArgumentError
from xclaim.operations import beside_writers
from xclaim.operations.migrate import Bind, check, engine_of, placed, turn
from xclaim.operations.ordering_parts import (
    differing_parts,
    drop_overloads,
    has_a_trigger,
    missing_parts,
    moving_parts,
)
from xclaim.sql import ordering
from xclaim.sql.dialects import POSTGRESQL, SQLITE, dialect_of
from xclaim.sql.statements import diagnosing, still_ordered
from xclaim.verbs import schema_on
from xclaim.verbs.ordering import is_enabled, refuse_two_leaders
from xclaim.verbs.unsendable import shown_within

__all__ = ["differing_parts", "disable", "enable", "is_begun", "is_enabled", "missing_parts"]

_ON_CITUS = (
    "ordering keys need triggers, and a table that Citus distributes has none: they are not to be "
    "had there"
)
# Statistics may tell of messages with keys that are consumed by now.
_BY_INDEX = text("SELECT set_config('enable_seqscan', 'off', true)")


def enable(bind: Bind, *, schema: str | None = None) -> bool:
    """Make the indexes, triggers and functions of ordering keys; return whether any was to be made.

    What is there and differs from what this xclaim makes is made anew: after another version, a
    change by hand, another name of the schema or another owner of the table.

    By the owner of the table. On PostgreSQL others go on writing: the indexes are built beside
    them, and only the triggers take the table, for a moment. If it is cut short, pushes with keys
    are still refused, and the next run goes on from there. It takes two connections of an engine
    at once. On a connection that is passed in it is one transaction, which the caller commits, and
    nobody writes to the table meanwhile.

    Raise SchemaVersionError unless the schema is the one this xclaim needs, and
    InvalidArgumentError on a standby, on Citus, where two messages of a key lead its line already,
    and where the engine or a pooler has only one connection to give.
    """
    if isinstance(bind, Connection):
        return _enable_within(bind, schema)
    with engine_of(bind) as engine:
        if engine.dialect.name == SQLITE.name:
            return _enable_within(engine, schema)
        return _enable_beside_writers(engine, schema)


def disable(bind: Bind, *, schema: str | None = None) -> bool:
    """Take away what ``enable`` has made; return whether it was there.

    Others go on writing as with ``enable``. Raise InvalidArgumentError as long as messages that are
    not consumed have ordering keys.
    """
    if isinstance(bind, Connection):
        return _disable_within(bind, schema)
    with engine_of(bind) as engine:
        if engine.dialect.name == SQLITE.name:
            return _disable_within(engine, schema)
        return _disable_beside_writers(engine, schema)


def is_begun(connection: Connection, schema: str | None) -> bool:
    """Return whether anything of it is there, on PostgreSQL: what was cut short, too."""
    found = beside_writers.indexes_of(connection, schema)
    if not found.keys().isdisjoint({*ordering.INDEXES, *ordering.LEFT_OVER}):
        return True
    return not moving_parts() <= set(missing_parts(connection, schema))


def _enable_within(bind: Engine | Connection, schema: str | None) -> bool:
    with turn(bind) as connection:
        resolved = schema_on(connection, schema)
        check(connection, schema=resolved)
        dialect = dialect_of(connection.dialect.name)
        if dialect is POSTGRESQL:
            beside_writers.within(connection)
        if not missing_parts(connection, resolved) and not differing_parts(connection, resolved):
            return False
        if dialect is POSTGRESQL:
            _refuse_citus(connection, resolved)
        refuse_two_leaders(connection, resolved)
        with placed(connection, resolved) as place:
            if dialect is POSTGRESQL:
                _run(connection, drop_overloads(connection, _place(connection, place)))
            _run(connection, ordering.disabling(dialect, place))
            _run(connection, ordering.enabling(dialect, place))
    return True


def _enable_beside_writers(engine: Engine, schema: str | None) -> bool:
    with beside_writers.alone(engine) as connection:
        resolved = schema_on(connection, schema)
        check(connection, schema=resolved)
        missing = missing_parts(connection, resolved)
        differing = differing_parts(connection, resolved)
        place = _place(connection, resolved)
        if not missing and not differing:
            _forget_what_is_left(connection, place)
            return False
        _refuse_citus(connection, resolved)
        refuse_two_leaders(connection, resolved)
        built = ordering.built_beside_writers(place)
        for name, statement in built.items():
            beside_writers.build(connection, place, name, statement)
        replaced = [name for name in built if name in differing.keys() - set(missing)]
        for name in replaced:
            # Beside the one that it replaces, without which two could lead a line.
            new = ordering.NEW.format(name)
            beside_writers.drop(connection, place, new)
            beside_writers.build(connection, place, new, built[name].replace(name, new, 1))
        if replaced or not moving_parts().isdisjoint({*missing, *differing}):
            # Only now: from here on somebody may push with a key.
            has_triggers = has_a_trigger(connection, place)
            beside_writers.with_the_table(
                connection,
                place,
                ordering.locking(place, reading=has_triggers or bool(replaced)),
                lambda locked: _start(locked, place, replaced, has_triggers=has_triggers),
            )
        _forget_what_is_left(connection, place)
    return True


def _start(connection: Connection, place: str, replaced: list[str], *, has_triggers: bool) -> None:
    check(connection, schema=place)
    with placed(connection, place):
        for name in replaced:
            _run(connection, ordering.replacing(place, name))
        _run(connection, ordering.stopping(place, has_triggers=has_triggers))
        _run(connection, drop_overloads(connection, place))
        _run(connection, ordering.starting(place))


def _forget_what_is_left(connection: Connection, place: str) -> None:
    """Drop the indexes of a run that was cut short: to disable ordering, or to replace another."""
    for name in beside_writers.indexes_of(connection, place).keys() & {*ordering.LEFT_OVER}:
        beside_writers.drop(connection, place, name)


def _disable_within(bind: Engine | Connection, schema: str | None) -> bool:
    with turn(bind) as connection:
        resolved = schema_on(connection, schema)
        dialect = dialect_of(connection.dialect.name)
        if dialect is POSTGRESQL:
            beside_writers.within(connection)
        if not (is_enabled if dialect is SQLITE else is_begun)(connection, resolved):
            return False
        with placed(connection, resolved) as place:
            if dialect is POSTGRESQL:  # nobody pushes behind what is counted
                _run(connection, [ordering.locking(place, reading=True)])
                _run(connection, drop_overloads(connection, _place(connection, place)))
            _refuse_lines(connection, place)
            _run(connection, ordering.disabling(dialect, place))
    return True


def _disable_beside_writers(engine: Engine, schema: str | None) -> bool:
    with beside_writers.alone(engine) as connection:
        resolved = schema_on(connection, schema)
        if not is_begun(connection, resolved):
            return False
        place = _place(connection, resolved)
        _refuse_lines(connection, place)  # before anything is changed
        looking = ordering.built_to_look(place)
        beside_writers.build(connection, place, ordering.KEYED_NAME, looking)
        try:
            beside_writers.with_the_table(
                connection,
                place,
                ordering.locking(place, reading=True),
                lambda locked: _stop(locked, place),
            )
        except InvalidArgumentError:
            beside_writers.drop(connection, place, ordering.KEYED_NAME)
            raise
        for name in (*ordering.INDEXES, *ordering.LEFT_OVER):
            beside_writers.drop(connection, place, name)
    return True


def _stop(connection: Connection, place: str) -> None:
    direct.run(connection, _BY_INDEX, {})
    _refuse_lines(connection, place)
    with placed(connection, place):
        _run(connection, [*ordering.stopping(place), *drop_overloads(connection, place)])


def _place(connection: Connection, schema: str | None) -> str:
    (found,) = direct.run(connection, diagnosing.place(), {})
    return str(found.schema) if schema is None else schema


def _refuse_citus(connection: Connection, schema: str | None) -> None:
    is_there = direct.run(connection, diagnosing.citus(), {})
    if is_there and direct.run(connection, diagnosing.citus_nodes(), {"schema": schema}):
        raise InvalidArgumentError(_ON_CITUS)


def _refuse_lines(connection: Connection, schema: str | None) -> None:
    for found in shown_within(connection, schema, still_ordered, {}):
        raise InvalidArgumentError(
            f"message {found.id} in {found.queue!r} has an ordering key and is not consumed: "
            "consume or withdraw what has one before ordering is disabled"
        )


def _run(connection: Connection, statements: list[str]) -> None:
    # psycopg reads a % as the begin of a parameter; SQLite's module takes it as it stands.
    percent = "%%" if connection.dialect.name == POSTGRESQL.name else "%"
    for statement in statements:
        connection.exec_driver_sql(statement.replace("%", percent))
