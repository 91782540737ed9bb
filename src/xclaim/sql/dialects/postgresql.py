"""PostgreSQL, and what any dialect answers: the expressions that the statements are built from."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    FromClause,
    Integer,
    LargeBinary,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    exists,
    extract,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, INTERVAL, JSONB, TIMESTAMP, array, insert
from sqlalchemy.types import TypeEngine

from xclaim.sql.dialects.types import (
    Json,
    UtcTimestamp,
)

# Bytes of failures that are kept, several times what ours can have. PostgreSQL makes no array of
# more than 256 MB, and what was written by hand must not keep a message from being released.
MOST_KEPT: ColumnElement[int] = literal_column("524288")
_MOST_OF_A_FIELD: ColumnElement[int] = literal_column("4096")  # characters
# Times of PostgreSQL, in microseconds since 1970: 4714 BC to 294276 AD.
_FIRST_TIME, _LAST_TIME = -210_866_803_200_000_000, 9_224_318_015_999_999_999
_MICROSECONDS = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_ENDS = ("infinite", "finite")
_SECRET_BYTES = 16  # as many bits as a token has


@dataclass(frozen=True, slots=True, eq=False)  # there are two, and they are keys of every cache
class Dialect:
    """PostgreSQL's answers; ``SQLITE`` overrides what it answers differently."""

    name: str
    has_lateral: bool = True

    def insert(self, table: Table) -> Any:
        """Return an INSERT that can say what is to be done where there is a row already."""
        return insert(table)

    def has_index(self, full_name: str) -> ColumnElement[bool]:
        """Return whether there is an index of this name, as SQL says it."""
        return func.to_regclass(bindparam("index_name", full_name, Text)).is_not(None)

    def now(self) -> ColumnElement[datetime]:
        """Return the database's clock.

        ``statement_timestamp()``: ``now()`` stands still in a long transaction, which would then
        not see newer messages; ``clock_timestamp()`` is volatile and no index condition.
        """
        return func.statement_timestamp(type_=UtcTimestamp())

    def time_parameter(self, time: datetime) -> Any:
        """Return a time in UTC as the driver takes it."""
        return time

    def from_now(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        """Return the time so many seconds from now, or ago when negative."""
        second: ColumnElement[Any] = literal_column("interval '1 second'")
        return func.statement_timestamp(type_=UtcTimestamp()) + seconds * second

    def new_token(self, id_: ColumnElement[int]) -> ColumnElement[Any]:
        """Return a UUID of its own for each row, which tells nothing of that of any other.

        A digest of the id and of a secret that the statement is given and that is kept nowhere
        (docs/adr/0036). To draw one for each row takes longer than to write an index entry.
        """
        secret = cast(bindparam("token_secret", type_=LargeBinary), BYTEA)
        digest = func.sha256(secret.op("||")(func.int8send(id_)))
        first_half = func.substr(digest, literal_column("1"), literal_column("16"))
        return cast(func.encode(first_half, quoted("hex")), Uuid)

    def token_parameters(self) -> dict[str, Any]:
        """Return the parameters that one execution of a statement with ``new_token`` is given."""
        return {"token_secret": secrets.token_bytes(_SECRET_BYTES)}

    def is_present(self, time: ColumnElement[datetime]) -> ColumnElement[bool]:
        """Return a test that every time passes, for the sake of a partial index.

        PostgreSQL 17 and later drop ``IS NOT NULL`` on a NOT NULL column, and with it the proof
        that an index ``WHERE ... IS NOT NULL`` applies; from a comparison they still conclude it.
        """
        return time >= literal_column("'-infinity'")

    def earliest(self) -> ColumnElement[Any]:
        """Return what no time is before."""
        return literal_column("'-infinity'", UtcTimestamp())

    def readable(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the value of a column so that the driver can read it, whatever the row has.

        JSON as text, which is parsed when somebody asks for it; a time that Python has no date for
        as the nearest that it has.
        """
        if isinstance(column.type, Json):
            return cast(column, Text).label(column.key)
        if isinstance(column.type, UtcTimestamp):
            bounded = func.least(
                func.greatest(column, quoted("0001-01-03 00:00:00+00")),
                quoted("9999-12-29 00:00:00+00"),
                type_=UtcTimestamp(),
            )
            may_be_null = getattr(column, "nullable", True)
            return (case((column.is_not(None), bounded)) if may_be_null else bounded).label(
                column.key
            )
        return column

    def json(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return JSON text as the type the payload column has."""
        return cast(text, JSONB)

    def field(self, document: ColumnElement[Any], name: str) -> ColumnElement[str]:
        """Return a field of a JSON object as text: of a string or a number, no more than is ours.

        As text some KB of anything else can be more than the 1 GB that PostgreSQL makes.
        """
        key = quoted(name)
        type_ = func.jsonb_typeof(document.op("->", return_type=JSONB())(key))
        text = document.op("->>", return_type=Text())(key)
        is_short = type_.in_([quoted("string"), quoted("number")])
        return case((is_short, func.substr(text, literal_column("1"), _MOST_OF_A_FIELD)))

    def apart(self, value: ColumnElement[Any], row: FromClause) -> ColumnElement[Any]:
        """Return what an UPDATE sets a column to, so that it may call what is not IMMUTABLE.

        In a sub-SELECT of its own: there Citus lets the clock into a CASE, and a column into a
        STABLE function (docs/adr/0052). PostgreSQL itself would not need it.
        """
        return select(value).correlate(row).scalar_subquery()

    def element(
        self, array: ColumnElement[Any], index: ColumnElement[int], length: ColumnElement[int]
    ) -> ColumnElement[float]:
        """Return a number of an array in JSON text, counted from 1; beyond its ends the nearest."""
        one: ColumnElement[int] = literal_column("1", Integer)
        # Compared first: at the lower end of the type there is no one less.
        place = func.greatest(func.least(index, length), one) - one
        return cast(cast(array, JSONB).op("->>", return_type=Text())(place), Double)

    def now_as_text(self) -> ColumnElement[str]:
        """Return the time of the statement as text in UTC, which sorts as the times do."""
        utc = func.timezone(quoted("UTC"), self.now())
        return func.to_char(utc, quoted('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), type_=Text())

    def later(
        self, time: ColumnElement[datetime], seconds: ColumnElement[float]
    ) -> ColumnElement[datetime]:
        """Return the time so many seconds after another that is past, but no earlier than now."""
        second: ColumnElement[Any] = literal_column("interval '1 second'")
        # A time in the future, which only a hand has written, could be the last the type holds.
        past = func.least(self.now(), time, type_=UtcTimestamp())
        return func.greatest(self.now(), past + seconds * second, type_=UtcTimestamp())

    def is_perhaps_too_much(self, document: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return whether JSON is so long that Python may lack the digits or the depth for it."""
        text = cast(document, Text)
        opened = func.length(text) - func.length(func.translate(text, quoted("[{"), quoted("")))
        digits = func.length(text) - func.length(
            func.translate(text, quoted("0123456789"), quoted(""))
        )
        is_much = or_(opened >= literal_column("900"), digits >= literal_column("4300"))
        # With as many brackets that close. Most texts are shorter, and are not counted through.
        return and_(func.length(text) >= literal_column("1800"), is_much)

    def age(self, age: ColumnElement[Any]) -> ColumnElement[float]:
        """Return an age of a view in seconds.

        An interval would be written as IntervalStyle says, which the driver may not read.
        """
        milliseconds: ColumnElement[Any] = literal_column("3")
        return cast(func.round(extract("epoch", age), milliseconds), Double)

    def seconds_since(self, time: ColumnElement[datetime]) -> ColumnElement[float]:
        """Return the seconds from a time until now; NULL for one that was written as infinity."""
        since = func.statement_timestamp() - time
        return cast(case((func.isfinite(time), extract("epoch", since))), Double)

    def field_of_last(self, array: ColumnElement[Any], name: str) -> ColumnElement[str]:
        """Return a field of the last object of a JSON array as text; NULL if there is none."""
        last: ColumnElement[Any] = literal_column("-1")
        return self.field(array.op("->", return_type=JSONB())(last), name)

    def unicode(self, text: ColumnElement[str]) -> ColumnElement[str]:
        """Return text of a JSON document as text that any driver reads."""
        return text

    def appended(
        self, array: ColumnElement[Any], most: int, **fields: ColumnElement[Any]
    ) -> ColumnElement[Any]:
        """Return a JSON array with an object more at its end, of ``most`` elements at most.

        What is no array of ours, or too large for one, is replaced.
        """
        named = [each for name, value in fields.items() for each in (quoted(name), value)]
        is_array = and_(
            func.jsonb_typeof(array) == quoted("array"), func.pg_column_size(array) < MOST_KEPT
        )
        is_full = func.jsonb_array_length(array) >= literal_column(str(most))
        first: ColumnElement[Any] = literal_column("0")
        without_first = array.op("-", return_type=JSONB())(first)
        kept = case(
            (~func.coalesce(is_array, literal_column("false")), cast(quoted("[]"), JSONB)),
            (is_full, without_first),
            else_=array,
        )
        return kept.op("||", return_type=JSONB())(
            func.jsonb_build_array(func.jsonb_build_object(*named))
        )

    def place(self, time: ColumnElement[datetime]) -> ColumnElement[str]:
        """Return a time as text from which ``time_at`` makes exactly the same one.

        Microseconds since 1970, or infinity: a driver may have no date for it.
        """
        million: ColumnElement[Any] = literal_column("1000000")
        return cast(func.trunc(extract("epoch", time) * million), Text)

    def time_at(self, name: str) -> ColumnElement[datetime]:
        """Return the time that ``place_parameters`` of the same name stand for."""
        infinite, finite = (bindparam(f"{name}_{each}", type_=Text) for each in _ENDS)
        began: ColumnElement[Any] = literal_column("'1970-01-01 00:00:00+00'::timestamptz")
        return case(
            (infinite != quoted(""), cast(infinite, TIMESTAMP(timezone=True))),
            else_=began + cast(finite, INTERVAL),
        )

    def place_parameters(self, name: str, place: str) -> dict[str, Any]:
        """Return the parameters of ``time_at``. Raise ValueError for what is no place."""
        if place in ("Infinity", "-Infinity"):
            return {f"{name}_infinite": place.lower(), f"{name}_finite": "0"}
        if not _MICROSECONDS.fullmatch(place) or not _FIRST_TIME <= int(place) <= _LAST_TIME:
            raise ValueError(f"{place:.40} is no time")
        return {f"{name}_infinite": "", f"{name}_finite": f"{place} microseconds"}

    def position_in(self, text: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[int]:
        """Return at which character a text has another first, from 1; 0 if it has not."""
        return func.strpos(text, part)

    def after_last_slash(self, text: ColumnElement[str]) -> ColumnElement[str]:
        """Return what is behind the last slash of a text; all of it if it has none."""
        last: ColumnElement[Any] = literal_column("-1")
        return func.split_part(text, quoted("/"), last, type_=Text())

    def beginning(
        self, document: ColumnElement[Any], characters: int, most_bytes: int
    ) -> ColumnElement[str]:
        """Return the beginning of JSON as text; NULL for a document of more bytes than so many.

        PostgreSQL prints all of a document to show its beginning.
        """
        is_small = func.pg_column_size(document) <= literal_column(str(most_bytes))
        first, most = literal_column("1", Integer), literal_column(str(characters), Integer)
        return case((is_small, func.substr(cast(document, Text), first, most, type_=Text())))

    def size(self, document: ColumnElement[Any]) -> ColumnElement[int]:
        """Return about how many bytes a document has, as it is stored: nothing of it is read."""
        return func.pg_column_size(document, type_=Integer())

    def has_value(
        self, document: ColumnElement[Any], steps: Sequence[str], value: str, kind: str
    ) -> ColumnElement[bool]:
        """Return whether a JSON document has a scalar at the end of some steps, or in an array.

        ``steps`` and ``value`` are names of parameters, ``kind`` the JSON type of the value, which
        is given as JSON text. A step is a name, or a number for the element of an array.
        """
        found = document
        if steps:
            way = array([bindparam(step, type_=Text) for step in steps])
            found = document.op("#>", return_type=JSONB())(way)
        wanted = cast(bindparam(value, type_=Text), JSONB)
        return found.op("@>", return_type=Boolean())(wanted)

    def value_parameter(self, value: str) -> Any:
        """Return JSON text of a scalar as ``has_value`` takes it."""
        return value

    def has_element_with(
        self, document: ColumnElement[Any], name: str, test: Callable[[Any], ColumnElement[bool]]
    ) -> ColumnElement[bool]:
        """Return whether a JSON array has an object whose field passes a test."""
        is_array = func.jsonb_typeof(document) == quoted("array")
        elements = func.jsonb_array_elements(
            case((is_array, document), else_=cast(quoted("[]"), JSONB))
        )
        element = elements.table_valued(column("value", JSONB), joins_implicitly=True)
        element = element.render_derived(name="element")
        return exists(
            select(literal_column("1"))
            .select_from(element)
            .where(test(self.field(element.c.value, name)))
        )

    def rows(self, **columns: TypeEngine[Any]) -> FromClause:
        """Return the bound lists as a table, with a ``position`` column that keeps their order.

        The parameters are named in the plural: a column ``id`` is bound to ``ids``. As texts: of
        how many rows they are PostgreSQL does not see, so that one plan is as good as another.
        """
        arrays = [
            cast(bindparam(f"{name}s", type_=Text), ARRAY(type_)) for name, type_ in columns.items()
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

    def optional(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a text of ``rows`` that may be None.

        None is sent as an empty text: PostgreSQL takes NULL for a word if ``array_nulls`` is off.
        """
        return case((value != literal_column("''"), value))

    def element_parameters(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the parameters that ``elements`` is executed with."""
        return {"payloads": f"[{','.join(texts)}]"}

    def row_parameters(self, **columns: Sequence[Any]) -> dict[str, Any]:
        """Return the parameters that ``rows`` of the same columns is executed with.

        As the text of an array: psycopg takes longer to make one than the database to insert it.
        """
        return {f"{name}s": _array_text(values) for name, values in columns.items()}

    def receipts(self) -> FromClause:
        """Return the bound ids and tokens of claims as a table that has each id once."""
        return self.rows(id=BigInteger(), token=Uuid())

    def receipt_parameters(self, ids: Sequence[int], tokens: Sequence[UUID]) -> dict[str, Any]:
        """Return the parameters that ``receipts`` is executed with."""
        return self.row_parameters(id=ids, token=tokens)

    def in_subquery(self, element: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        """Return the test for membership.

        As an array: the planner may run an ``IN (subquery)`` or a join more than once, and with
        it the LIMIT inside, and claim too much.
        """
        return element == any_(func.array(ids.scalar_subquery()))

    def locked(self, statement: Select[Any]) -> Select[Any]:
        """Return the SELECT so that it locks its rows and leaves out those others have locked.

        Not those that a producer is just pushing behind: with them it has no conflict.
        """
        return statement.with_for_update(key_share=True, skip_locked=True)

    def locked_in_turn(self, statement: Select[Any]) -> Select[Any]:
        """Return the SELECT so that it locks its rows and waits for those others have locked."""
        return statement.with_for_update(key_share=True)

    def materialized(self, statement: Any, name: str) -> CTE:
        """Return a CTE that is evaluated once."""
        cte: CTE = statement.cte(name).prefix_with("MATERIALIZED")
        return cte


def quoted(text: str) -> ColumnElement[str]:
    """Return text of ours as a literal."""
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
        return '""'
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


POSTGRESQL = Dialect("postgresql")
