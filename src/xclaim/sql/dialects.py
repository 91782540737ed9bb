"""Every way in which the databases differ: PostgreSQL, and SQLite which is the same except...

Column types that read alike from both, and one ``Dialect`` object per database with the
expressions the statements are built from.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    FromClause,
    Integer,
    Join,
    LargeBinary,
    Numeric,
    Select,
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
    true,
    type_coerce,
)
from sqlalchemy import Dialect as SqlDialect
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, INTERVAL, JSONB, TIMESTAMP, array
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import Function
from sqlalchemy.types import TypeDecorator, TypeEngine

from xclaim.errors import DatabaseUrlError

# Bytes of failures that are kept, several times what ours can have. PostgreSQL makes no array of
# more than 256 MB, and what was written by hand must not keep a message from being released.
_MOST_KEPT: ColumnElement[int] = literal_column("524288")
_MOST_OF_A_FIELD: ColumnElement[int] = literal_column("4096")  # characters
# Times of PostgreSQL, in microseconds since 1970: 4714 BC to 294276 AD.
_FIRST_TIME, _LAST_TIME = -210_866_803_200_000_000, 9_224_318_015_999_999_999
_MICROSECONDS = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_ENDS = ("infinite", "finite")
CHANNEL = "xclaim"  # of NOTIFY; the payload is the name of the queue
_SECRET_BYTES = 16  # as many bits as a token has
_TOKEN_DIGITS = 32


# The earliest and the latest time that are handed out: what lies beyond, as infinity does, or years
# that Python has no dates for, is given as the nearer of them. A few days from Python's own ends,
# so that any time zone has them.
EARLIEST = datetime(1, 1, 3, tzinfo=UTC)
LATEST = datetime(9999, 12, 29, tzinfo=UTC)


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
        return value.astimezone(UTC) if isinstance(value, datetime) else time_of(value)


class Json(TypeDecorator[Any]):
    """``jsonb``; on SQLite text (a column declared JSON has numeric affinity: "1" becomes 1).

    Read by ``Dialect.readable`` alone, as it stands there: who parses it can say what fails.
    """

    impl = JSONB
    cache_ok = True

    def load_dialect_impl(self, dialect: SqlDialect) -> TypeEngine[Any]:
        """Return text on SQLite."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else JSONB())


class Readable(TypeDecorator[Any]):
    """Text of a column of SQLite, read as bytes: it may be any bytes, and no Unicode at all."""

    impl = LargeBinary
    cache_ok = True

    def process_result_value(self, value: Any, dialect: SqlDialect) -> str | None:
        """Return the text, with a mark for each byte that is none."""
        return None if value is None else text_of(value)


class ReadableToken(TypeDecorator[Any]):
    """The token of a column of SQLite; None for what is none."""

    impl = LargeBinary
    cache_ok = True

    def process_result_value(self, value: Any, dialect: SqlDialect) -> UUID | None:
        """Return the token."""
        return None if value is None else token_of(value)


def text_of(value: Any) -> Any:
    """Return text that SQLite has, with a mark for each byte that is none; a number is itself."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def marked(text: str) -> str:
    """Return text of a JSON document with a mark for each half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def token_of(value: str | bytes) -> UUID | None:
    """Return the token that SQLite has as text; None for what is none, which settles nothing."""
    text = text_of(value)
    try:
        # As we write it, at half the cost of the constructor's own way.
        return UUID(int=int(text, 16)) if len(text) == _TOKEN_DIGITS else UUID(text)
    except ValueError:
        return None


@lru_cache(64)  # the messages of a batch have the same times
def time_of(value: str | bytes) -> datetime:
    """Return the time that SQLite has as text; of what is none the end it sorts nearer to."""
    try:
        text = value if isinstance(value, str) else value.decode()
        read = datetime.fromisoformat(f"{text}+00:00")  # quicker than replace(tzinfo=UTC)
    except ValueError:
        return _time_of_others(text_of(value))
    return read if read.tzinfo is UTC else read.replace(tzinfo=UTC)  # of a date alone


def _time_of_others(text: str) -> datetime:
    """Return a time that another program has written with its offset, or of what is none an end."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return EARLIEST if text < "2" else LATEST


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
        return cast(func.encode(first_half, _quoted("hex")), Uuid)

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
                func.greatest(column, _quoted("0001-01-03 00:00:00+00")),
                _quoted("9999-12-29 00:00:00+00"),
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
        key = _quoted(name)
        type_ = func.jsonb_typeof(document.op("->", return_type=JSONB())(key))
        text = document.op("->>", return_type=Text())(key)
        is_short = type_.in_([_quoted("string"), _quoted("number")])
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
        utc = func.timezone(_quoted("UTC"), self.now())
        return func.to_char(utc, _quoted('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), type_=Text())

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
        opened = func.length(text) - func.length(func.translate(text, _quoted("[{"), _quoted("")))
        digits = func.length(text) - func.length(
            func.translate(text, _quoted("0123456789"), _quoted(""))
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
        named = [each for name, value in fields.items() for each in (_quoted(name), value)]
        is_array = and_(
            func.jsonb_typeof(array) == _quoted("array"), func.pg_column_size(array) < _MOST_KEPT
        )
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
            (infinite != _quoted(""), cast(infinite, TIMESTAMP(timezone=True))),
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
        return func.split_part(text, _quoted("/"), last, type_=Text())

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
        is_array = func.jsonb_typeof(document) == _quoted("array")
        elements = func.jsonb_array_elements(
            case((is_array, document), else_=cast(_quoted("[]"), JSONB))
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


@dataclass(frozen=True, slots=True, eq=False)
class _Sqlite(Dialect):
    def now(self) -> ColumnElement[datetime]:
        return func.strftime(
            literal_column("'%Y-%m-%d %H:%M:%f'"), literal_column("'now'"), type_=UtcTimestamp()
        )

    def time_parameter(self, time: datetime) -> Any:
        return time.replace(tzinfo=None).isoformat(" ", "milliseconds")

    def from_now(self, seconds: ColumnElement[float]) -> ColumnElement[datetime]:
        return func.strftime(
            literal_column("'%Y-%m-%d %H:%M:%f'"),
            literal_column("'now'"),
            cast(seconds, Text).concat(literal_column("' seconds'")),
            type_=UtcTimestamp(),
        )

    def new_token(self, id_: ColumnElement[int]) -> ColumnElement[Any]:
        return func.lower(func.hex(func.randomblob(literal_column("16"))), type_=Uuid())

    def token_parameters(self) -> dict[str, Any]:
        return {}

    def is_present(self, time: ColumnElement[datetime]) -> ColumnElement[bool]:
        return time.is_not(None)

    def earliest(self) -> ColumnElement[Any]:
        return literal_column("''", UtcTimestamp())

    def readable(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        # A column takes what its type cannot be made of: bytes for a number, text for a time.
        match column.type:
            case Json():
                read: ColumnElement[Any] = cast(column, LargeBinary)
            case UtcTimestamp():
                read = type_coerce(cast(column, LargeBinary), UtcTimestamp())
            case Text():
                read = type_coerce(cast(column, LargeBinary), Readable())
            case Uuid():
                read = type_coerce(cast(column, LargeBinary), ReadableToken())
            case Integer() if not getattr(column, "primary_key", False):
                read = cast(column, Integer)
            case _:
                return column
        return read.label(column.key)

    def json(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        return text

    def field(self, document: ColumnElement[Any], name: str) -> ColumnElement[str]:
        found = func.json_extract(document, literal_column(f"'$.{name}'"))
        return case((_is_json(document), found)).cast(Text)

    def element(
        self, array: ColumnElement[Any], index: ColumnElement[int], length: ColumnElement[int]
    ) -> ColumnElement[float]:
        # Without the 0 a message whose attempts were set to 0 by hand would stop every expire.
        place = func.max(func.min(index, length) - literal_column("1"), literal_column("0"))
        # As a whole number, which attempts written by hand need not be.
        path = _quoted("$[").concat(cast(cast(place, Integer), Text)).concat(_quoted("]"))
        return func.json_extract(array, path, type_=Double())

    def now_as_text(self) -> ColumnElement[str]:
        return cast(self.now(), Text)

    def later(
        self, time: ColumnElement[datetime], seconds: ColumnElement[float]
    ) -> ColumnElement[datetime]:
        shifted = func.strftime(
            _quoted("%Y-%m-%d %H:%M:%f"),
            func.min(self.now(), time),
            cast(seconds, Text).concat(_quoted(" seconds")),
        )
        return func.max(self.now(), func.coalesce(shifted, self.now()), type_=UtcTimestamp())

    def age(self, age: ColumnElement[Any]) -> ColumnElement[float]:
        return age

    def is_perhaps_too_much(self, document: ColumnElement[Any]) -> ColumnElement[bool]:
        # Its text may also have numbers that are infinite to Python, and no Unicode.
        return document.is_not(None)

    def field_of_last(self, array: ColumnElement[Any], name: str) -> ColumnElement[str]:
        found = func.json_extract(array, _quoted(f"$[#-1].{name}"))
        return cast(case((_is_json(array), found)), Text)

    def unicode(self, text: ColumnElement[str]) -> ColumnElement[str]:
        # Half a surrogate pair, which JSON can have. SQLite takes it for the mark of what is none,
        # and writes the mark where it puts the text together again, character by character.
        place, one = _PLACES.c.place, literal_column("1", Integer)
        character = func.char(func.unicode(func.substr(text, place, one)))
        marked = select(func.group_concat(character, _quoted("")))
        marked = marked.where(place <= func.length(text))
        mark = func.char(literal_column("65533"))
        has_mark = text.op("GLOB", return_type=Boolean())(
            _quoted("*").concat(mark).concat(_quoted("*"))
        )
        return case((has_mark, marked.scalar_subquery()), else_=text)

    def appended(
        self, array: ColumnElement[Any], most: int, **fields: ColumnElement[Any]
    ) -> ColumnElement[Any]:
        named = [each for name, value in fields.items() for each in (_quoted(name), value)]
        is_whole = and_(_is_json(array), func.length(array) < _MOST_KEPT)
        valid = case((is_whole, array), else_=_quoted("null"))
        is_array = func.json_type(valid) == _quoted("array")
        # Not func's: sqlalchemy_utils, which Airflow 3.1 has, puts its own there, not to be cached.
        is_full = Function[Any]("json_array_length", valid) >= literal_column(str(most))
        kept = case(
            (~is_array, _quoted("[]")),
            (is_full, func.json_remove(array, _quoted("$[0]"))),
            else_=array,
        )
        return func.json_insert(kept, _quoted("$[#]"), func.json_object(*named), type_=Text())

    def place(self, time: ColumnElement[datetime]) -> ColumnElement[str]:
        # Any bytes: what is no text is a blob, which sorts behind all texts.
        kind = func.substr(func.typeof(time), literal_column("1"), literal_column("1"))
        return kind.concat(func.hex(cast(time, LargeBinary))).cast(Text)

    def time_at(self, name: str) -> ColumnElement[datetime]:
        kind = bindparam(f"{name}_kind", type_=Text)
        value = bindparam(f"{name}_bytes", type_=LargeBinary)
        return case((kind == _quoted("t"), cast(value, Text)), else_=value)

    def place_parameters(self, name: str, place: str) -> dict[str, Any]:
        if not place or place[0] not in "tb":
            raise ValueError(f"{place:.40} is no time")
        return {f"{name}_kind": place[0], f"{name}_bytes": bytes.fromhex(place[1:])}

    def position_in(self, text: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[int]:
        return func.instr(text, part)

    def after_last_slash(self, text: ColumnElement[str]) -> ColumnElement[str]:
        # Without the characters that are no slash, from its end, a text ends in a slash.
        others = func.replace(text, _quoted("/"), _quoted(""))
        path = func.rtrim(text, others)
        return func.substr(text, func.length(path) + literal_column("1"), type_=Text())

    def beginning(
        self, document: ColumnElement[Any], characters: int, most_bytes: int
    ) -> ColumnElement[str]:
        first, most = literal_column("1", Integer), literal_column(str(characters), Integer)
        return func.substr(document, first, most, type_=Text())

    def size(self, document: ColumnElement[Any]) -> ColumnElement[int]:
        return func.length(cast(document, LargeBinary), type_=Integer())

    def has_value(
        self, document: ColumnElement[Any], steps: Sequence[str], value: str, kind: str
    ) -> ColumnElement[bool]:
        # Step by step, as a table of what each has: a path would take a number for an index alone,
        # and has no way to write a quotation mark.
        wanted = bindparam(value, type_=Text)
        whole = case((_is_json(document), document), else_=_quoted("null"))
        conditions: list[ColumnElement[bool]] = []
        type_, found = func.json_type(whole), func.json_extract(whole, _quoted("$"))
        for step in steps:
            member = _members(whole, f"{step}_member")
            conditions.append(cast(member.c.key, Text) == bindparam(step, type_=Text))
            type_, found = member.c.type, member.c.value
            is_container = type_.in_([_quoted("object"), _quoted("array")])
            whole = case((is_container, found), else_=_quoted("null"))
        has_it = _has_scalar(type_, found, wanted, kind)
        return exists(select(literal_column("1")).where(*conditions, has_it)) if steps else has_it

    def value_parameter(self, value: str) -> Any:
        return json.loads(value) if value.startswith('"') else value

    def has_element_with(
        self, document: ColumnElement[Any], name: str, test: Callable[[Any], ColumnElement[bool]]
    ) -> ColumnElement[bool]:
        whole = case((_is_json(document), document), else_=_quoted("null"))
        element = _members(_array(func.json_type(whole), whole), "element")
        is_object = element.c.type == _quoted("object")
        field = case((is_object, func.json_extract(element.c.value, _quoted(f"$.{name}"))))
        return exists(select(literal_column("1")).where(test(cast(field, Text))))

    def rows(self, **columns: TypeEngine[Any]) -> FromClause:
        item = func.json_each(bindparam("rows", type_=Text)).table_valued("key", "value")
        extracted: list[ColumnElement[Any]] = [
            func.json_extract(
                item.c.value, literal_column(f"'$[{index}]'"), type_=_stored(type_)
            ).label(name)
            for index, (name, type_) in enumerate(columns.items())
        ]
        return select(*extracted, item.c.key.label("position")).subquery("item")

    def optional(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        return value

    def apart(self, value: ColumnElement[Any], row: FromClause) -> ColumnElement[Any]:
        return value

    def elements(self) -> FromClause:
        # Texts of which each is JSON: of JSON within JSON, numbers would come back as others.
        item = func.json_each(bindparam("rows", type_=Text)).table_valued("key", "value")
        payload = type_coerce(item.c.value, Text()).label("payload")
        return select(payload, item.c.key.label("position")).subquery("item")

    def element_parameters(self, texts: Sequence[str]) -> dict[str, Any]:
        return {"rows": json.dumps(texts, ensure_ascii=False)}

    def row_parameters(self, **columns: Sequence[Any]) -> dict[str, Any]:
        rows = zip(*columns.values(), strict=True)
        return {"rows": json.dumps([list(row) for row in rows], default=lambda value: value.hex)}

    def in_subquery(self, element: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        return element.in_(ids)

    def locked(self, statement: Select[Any]) -> Select[Any]:
        return statement  # one writer at a time: the whole database is locked

    def locked_in_turn(self, statement: Select[Any]) -> Select[Any]:
        return statement


def _places(most: int) -> CTE:
    one, last = literal_column("1", Integer), literal_column(str(most), Integer)
    places = select(one.label("place")).cte("places", recursive=True)
    return places.union_all(select(places.c.place + one).where(places.c.place < last))


_PLACES = _places(1_000)  # of a text that is put together anew: as many as a failure keeps


def _is_json(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return whether a column of SQLite is JSON: text, since some bytes are valid to it as well."""
    is_text = func.typeof(column) == _quoted("text")
    return case((is_text, func.json_valid(column)), else_=literal_column("0")) == literal_column(
        "1"
    )


def _members(document: ColumnElement[Any], name: str) -> Any:
    """Return what a JSON document of SQLite has, as a table: itself if it has no members."""
    return func.json_each(document).table_valued(
        column("key"), column("value"), column("type", Text), name=name, joins_implicitly=True
    )


def _array(type_: ColumnElement[str], document: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((type_ == _quoted("array"), document), else_=_quoted("[]"))


def _has_scalar(
    type_: ColumnElement[str], found: ColumnElement[Any], wanted: ColumnElement[Any], kind: str
) -> ColumnElement[bool]:
    """Return whether a value of SQLite's JSON is the wanted one, or an array that has it."""
    element = _members(_array(type_, found), f"{wanted.key}_element")
    has_it = exists(
        select(literal_column("1")).where(_is_scalar(element.c.type, element.c.value, wanted, kind))
    )
    return or_(_is_scalar(type_, found, wanted, kind), has_it)


def _is_scalar(
    type_: ColumnElement[str], found: ColumnElement[Any], wanted: ColumnElement[Any], kind: str
) -> ColumnElement[bool]:
    match kind:
        case "text":
            return and_(type_ == _quoted("text"), found == wanted)
        case "number":
            is_number = type_.in_([_quoted("integer"), _quoted("real")])
            return and_(is_number, found == cast(wanted, Numeric))
        case _:
            return type_ == cast(wanted, Text)  # true, false and null are types of their own


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
        return '""'
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
