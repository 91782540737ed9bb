"""Every way in which the databases differ: PostgreSQL, and SQLite which is the same except...

Column types that read alike from both, and one ``Dialect`` object per database with the
expressions the statements are built from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    FromClause,
    Integer,
    Join,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy import Dialect as SqlDialect
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator, TypeEngine

from xclaim.errors import DatabaseUrlError
from xclaim.payloads.plain_json import decode

CHANNEL = "xclaim"  # of NOTIFY; the payload is the name of the queue


class UtcTimestamp(TypeDecorator[datetime]):
    """``timestamptz``; on SQLite text in UTC with milliseconds. Read as aware UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: SqlDialect) -> TypeEngine[Any]:
        """Return text on SQLite, whose clock is read as text."""
        return dialect.type_descriptor(
            Text() if dialect.name == "sqlite" else DateTime(timezone=True)
        )

    def process_result_value(self, value: Any, dialect: SqlDialect) -> datetime | None:
        """Return the time in UTC, whatever time zone the session has."""
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(f"{value}+00:00")  # quicker than replace(tzinfo=UTC)
        return value.astimezone(UTC)  # type: ignore[no-any-return]


class Json(TypeDecorator[Any]):
    """``jsonb``; on SQLite text (a column declared JSON has numeric affinity: "1" becomes 1)."""

    impl = JSONB
    cache_ok = True

    def load_dialect_impl(self, dialect: SqlDialect) -> TypeEngine[Any]:
        """Return text on SQLite."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else JSONB())

    def process_result_value(self, value: Any, dialect: SqlDialect) -> Any:
        """Return the decoded value; psycopg has decoded jsonb already."""
        return decode(value) if dialect.name == "sqlite" and value is not None else value


class CrossJoin(Join):
    """``left CROSS JOIN right``, which SQLite, unlike a comma, never reorders."""

    inherit_cache = True

    def __init__(self, left: FromClause, right: FromClause) -> None:
        super().__init__(left, right, onclause=true())


@compiles(CrossJoin)
def _compile_cross_join(element: CrossJoin, compiler: Any, **options: Any) -> str:
    options.pop("asfrom", None)
    linter = options.pop("from_linter", None)
    if linter is not None:
        linter.edges.add((element.left, element.right))
    left = compiler.process(element.left, asfrom=True, from_linter=linter, **options)
    right = compiler.process(element.right, asfrom=True, from_linter=linter, **options)
    return f"{left} CROSS JOIN {right}"


@dataclass(frozen=True, slots=True, eq=False)  # there are two, and they are keys of every cache
class Dialect:
    """PostgreSQL's answers; ``_Sqlite`` overrides what it answers differently."""

    name: str
    has_lateral: bool = True

    def now(self) -> ColumnElement[datetime]:
        """Return the database's clock.

        ``statement_timestamp()``: ``now()`` stands still in a long transaction, which would then
        not see newer messages; ``clock_timestamp()`` is volatile and no index condition.
        """
        return func.statement_timestamp(type_=UtcTimestamp())

    def from_now(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        """Return the time so many seconds from now, or ago when negative."""
        second: ColumnElement[Any] = literal_column("interval '1 second'")
        return func.statement_timestamp(type_=UtcTimestamp()) + seconds * second

    def new_token(self, id_: ColumnElement[int]) -> ColumnElement[Any]:
        """Return a UUID of its own for each row: 60 random bits, and the id.

        One random number for all rows of the statement: to draw it takes longer than to write an
        index entry.
        """
        hexadecimal = func.replace(
            cast(func.gen_random_uuid(), Text), literal_column("'-'"), literal_column("''")
        )
        drawn = func.substr(hexadecimal, literal_column("1"), literal_column("16"))
        random = select(drawn).scalar_subquery()
        return cast(
            random.concat(func.lpad(func.to_hex(id_), literal_column("16"), literal_column("'0'"))),
            Uuid,
        )

    def is_present(self, time: ColumnElement[datetime]) -> ColumnElement[bool]:
        """Return a test that every time passes, for the sake of a partial index.

        PostgreSQL 17 and later drop ``IS NOT NULL`` on a NOT NULL column, and with it the proof
        that an index ``WHERE ... IS NOT NULL`` applies; from a comparison they still conclude it.
        """
        return time >= literal_column("'-infinity'")

    def json(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return JSON text as the type the payload column has."""
        return cast(text, JSONB)

    def field(self, document: ColumnElement[Any], name: str) -> ColumnElement[str]:
        """Return a field of a JSON object as text."""
        return document.op("->>", return_type=Text())(literal_column(f"'{name}'"))

    def element(
        self, array: ColumnElement[Any], index: ColumnElement[int], length: ColumnElement[int]
    ) -> ColumnElement[float]:
        """Return a number of an array in JSON text, counted from 1; beyond its ends the nearest."""
        place = func.greatest(func.least(index, length) - literal_column("1"), literal_column("0"))
        return cast(cast(array, JSONB).op("->>", return_type=Text())(place), Double)

    def now_as_text(self) -> ColumnElement[str]:
        """Return the time of the statement as text in UTC, which sorts as the times do."""
        utc = func.timezone(_quoted("UTC"), self.now())
        return func.to_char(utc, _quoted('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), type_=Text())

    def later(
        self, time: ColumnElement[datetime], seconds: ColumnElement[float]
    ) -> ColumnElement[datetime]:
        """Return the time so many seconds after another one, but no earlier than now."""
        second: ColumnElement[Any] = literal_column("interval '1 second'")
        return func.greatest(self.now(), time + seconds * second, type_=UtcTimestamp())

    def field_of_last(self, array: ColumnElement[Any], name: str) -> ColumnElement[str]:
        """Return a field of the last object of a JSON array as text; NULL if there is none."""
        last: ColumnElement[Any] = literal_column("-1")
        return self.field(array.op("->", return_type=JSONB())(last), name)

    def appended(
        self, array: ColumnElement[Any], most: int, **fields: ColumnElement[Any]
    ) -> ColumnElement[Any]:
        """Return a JSON array with an object more at its end, of ``most`` elements at most.

        What is no array is replaced.
        """
        named = [each for name, value in fields.items() for each in (_quoted(name), value)]
        is_array = func.jsonb_typeof(array) == _quoted("array")
        is_full = func.jsonb_array_length(array) >= literal_column(str(most))
        first: ColumnElement[Any] = literal_column("0")
        without_first = array.op("-", return_type=JSONB())(first)
        kept = case(
            (~func.coalesce(is_array, literal_column("false")), cast(_quoted("[]"), JSONB)),
            (is_full, without_first),
            else_=array,
        )
        return kept.op("||", return_type=JSONB())(
            func.jsonb_build_array(func.jsonb_build_object(*named))
        )

    def rows(self, **columns: TypeEngine[Any]) -> FromClause:
        """Return the bound lists as a table, with a ``position`` column that keeps their order.

        The parameters are named in the plural: a column ``id`` is bound to ``ids``. In a SELECT of
        their own: from a list whose length it sees PostgreSQL plans each statement anew.
        """
        arrays = [
            cast(select(bindparam(f"{name}s", type_=Text)).scalar_subquery(), ARRAY(type_))
            for name, type_ in columns.items()
        ]
        named = [column(name, type_) for name, type_ in columns.items()]
        return (
            func.unnest(*arrays)
            .table_valued(*named, with_ordinality="position")
            .render_derived(name="item")
        )

    def elements(self) -> FromClause:
        """Return bound JSON values as a table of ``payload`` and ``position``.

        As one JSON array: for a single value a sixteenth quicker than ``rows``.
        """
        return (
            func.jsonb_array_elements(cast(bindparam("payloads", type_=Text), JSONB))
            .table_valued(column("payload", JSONB), with_ordinality="position")
            .render_derived(name="item")
        )

    def element_parameters(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the parameters that ``elements`` is executed with."""
        return {"payloads": f"[{','.join(texts)}]"}

    def row_parameters(self, **columns: Sequence[Any]) -> dict[str, Any]:
        """Return the parameters that ``rows`` of the same columns is executed with.

        As the text of an array: psycopg takes longer to make one than the database to insert it.
        """
        return {f"{name}s": _array_text(values) for name, values in columns.items()}

    def in_subquery(self, element: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        """Return the test for membership.

        As an array: the planner may run an ``IN (subquery)`` or a join more than once, and with
        it the LIMIT inside, and claim too much.
        """
        return element == any_(func.array(ids.scalar_subquery()))

    def locked(self, statement: Select[Any]) -> Select[Any]:
        """Return the SELECT so that it locks its rows and leaves out those others have locked."""
        return statement.with_for_update(skip_locked=True)

    def locked_in_turn(self, statement: Select[Any]) -> Select[Any]:
        """Return the SELECT so that it locks its rows and waits for those others have locked."""
        return statement.with_for_update()

    def materialized(self, statement: Any, name: str) -> CTE:
        """Return a CTE that is evaluated once."""
        cte: CTE = statement.cte(name).prefix_with("MATERIALIZED")
        return cte


@dataclass(frozen=True, slots=True, eq=False)
class _Sqlite(Dialect):
    def now(self) -> ColumnElement[datetime]:
        return func.strftime(
            literal_column("'%Y-%m-%d %H:%M:%f'"), literal_column("'now'"), type_=UtcTimestamp()
        )

    def from_now(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        return func.strftime(
            literal_column("'%Y-%m-%d %H:%M:%f'"),
            literal_column("'now'"),
            cast(seconds, Text).concat(literal_column("' seconds'")),
            type_=UtcTimestamp(),
        )

    def new_token(self, id_: ColumnElement[int]) -> ColumnElement[Any]:
        return func.lower(func.hex(func.randomblob(literal_column("16"))), type_=Uuid())

    def is_present(self, time: ColumnElement[datetime]) -> ColumnElement[bool]:
        return time.is_not(None)

    def json(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        return text

    def field(self, document: ColumnElement[Any], name: str) -> ColumnElement[str]:
        return func.json_extract(document, literal_column(f"'$.{name}'"), type_=Text())

    def element(
        self, array: ColumnElement[Any], index: ColumnElement[int], length: ColumnElement[int]
    ) -> ColumnElement[float]:
        # Without the 0 a message whose attempts were set to 0 by hand would stop every expire.
        place = func.max(func.min(index, length) - literal_column("1"), literal_column("0"))
        path = _quoted("$[").concat(cast(place, Text)).concat(_quoted("]"))
        return func.json_extract(array, path, type_=Double())

    def now_as_text(self) -> ColumnElement[str]:
        return cast(self.now(), Text)

    def later(
        self, time: ColumnElement[datetime], seconds: ColumnElement[float]
    ) -> ColumnElement[datetime]:
        shifted = func.strftime(
            _quoted("%Y-%m-%d %H:%M:%f"), time, cast(seconds, Text).concat(_quoted(" seconds"))
        )
        return func.max(self.now(), func.coalesce(shifted, self.now()), type_=UtcTimestamp())

    def field_of_last(self, array: ColumnElement[Any], name: str) -> ColumnElement[str]:
        found = func.json_extract(array, _quoted(f"$[#-1].{name}"))
        return cast(case((func.json_valid(array), found)), Text)

    def appended(
        self, array: ColumnElement[Any], most: int, **fields: ColumnElement[Any]
    ) -> ColumnElement[Any]:
        named = [each for name, value in fields.items() for each in (_quoted(name), value)]
        valid = case((func.json_valid(array), array), else_=_quoted("null"))
        is_array = func.json_type(valid) == _quoted("array")
        is_full = func.json_array_length(valid) >= literal_column(str(most))
        kept = case(
            (~is_array, _quoted("[]")),
            (is_full, func.json_remove(array, _quoted("$[0]"))),
            else_=array,
        )
        return func.json_insert(kept, _quoted("$[#]"), func.json_object(*named), type_=Text())

    def rows(self, **columns: TypeEngine[Any]) -> FromClause:
        item = func.json_each(bindparam("rows", type_=Text)).table_valued("key", "value")
        extracted: list[ColumnElement[Any]] = [
            func.json_extract(
                item.c.value, literal_column(f"'$[{index}]'"), type_=_stored(type_)
            ).label(name)
            for index, (name, type_) in enumerate(columns.items())
        ]
        return select(*extracted, item.c.key.label("position")).subquery("item")

    def elements(self) -> FromClause:
        return self.rows(payload=Text())

    def element_parameters(self, texts: Sequence[str]) -> dict[str, Any]:
        return self.row_parameters(payload=texts)

    def row_parameters(self, **columns: Sequence[Any]) -> dict[str, Any]:
        rows = zip(*columns.values(), strict=True)
        return {"rows": json.dumps([list(row) for row in rows], default=lambda value: value.hex)}

    def in_subquery(self, element: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        return element.in_(ids)

    def locked(self, statement: Select[Any]) -> Select[Any]:
        return statement  # one writer at a time: the whole database is locked

    def locked_in_turn(self, statement: Select[Any]) -> Select[Any]:
        return statement


def _quoted(text: str) -> ColumnElement[str]:
    return literal_column(f"'{text}'", Text)


def _array_text(values: Sequence[Any]) -> str:
    # https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
    return "{" + ",".join(map(_element_text, values)) + "}"


def _element_text(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, UUID):
        return value.hex
    if value is None:
        return "NULL"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _stored(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    return Integer() if isinstance(type_, BigInteger) else Text()


POSTGRESQL = Dialect("postgresql")
SQLITE = _Sqlite("sqlite", has_lateral=False)


def dialect_of(name: str) -> Dialect:
    """Return the dialect by SQLAlchemy's name. Raise DatabaseUrlError for another database."""
    match name:
        case "postgresql":
            return POSTGRESQL
        case "sqlite":
            return SQLITE
        case _:
            raise DatabaseUrlError(
                f"xclaim does not run on {name!r}: use postgresql+psycopg:// or sqlite://"
            )


def seconds_parameter(name: str) -> ColumnElement[float]:
    """Return the bound number of seconds of a duration."""
    return bindparam(name, type_=Double)
