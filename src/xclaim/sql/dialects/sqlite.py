"""SQLite, which answers as PostgreSQL does except..."""

from __future__ import annotations

import json
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
    Numeric,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
    exists,
    func,
    literal_column,
    or_,
    select,
    table,
    type_coerce,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql.functions import Function
from sqlalchemy.types import TypeEngine

from xclaim.sql.dialects.postgresql import MOST_KEPT, Dialect, quoted
from xclaim.sql.dialects.types import (
    Json,
    Readable,
    ReadableToken,
    UtcTimestamp,
)


@dataclass(frozen=True, slots=True, eq=False)
class _Sqlite(Dialect):
    def insert(self, table: Table) -> Any:
        return insert(table)

    def has_index(self, full_name: str) -> ColumnElement[bool]:
        found = table("sqlite_master", column("name", Text))
        return exists().where(found.c.name == bindparam("index_name", full_name, Text))

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
        path = quoted("$[").concat(cast(cast(place, Integer), Text)).concat(quoted("]"))
        return func.json_extract(array, path, type_=Double())

    def now_as_text(self) -> ColumnElement[str]:
        return cast(self.now(), Text)

    def later(
        self, time: ColumnElement[datetime], seconds: ColumnElement[float]
    ) -> ColumnElement[datetime]:
        shifted = func.strftime(
            quoted("%Y-%m-%d %H:%M:%f"),
            func.min(self.now(), time),
            cast(seconds, Text).concat(quoted(" seconds")),
        )
        return func.max(self.now(), func.coalesce(shifted, self.now()), type_=UtcTimestamp())

    def age(self, age: ColumnElement[Any]) -> ColumnElement[float]:
        return age

    def seconds_since(self, time: ColumnElement[datetime]) -> ColumnElement[float]:
        days = func.julianday(quoted("now")) - func.julianday(time, type_=Double())
        return days * literal_column("86400.0", Double)

    def is_perhaps_too_much(self, document: ColumnElement[Any]) -> ColumnElement[bool]:
        # Its text may also have numbers that are infinite to Python, and no Unicode.
        return document.is_not(None)

    def field_of_last(self, array: ColumnElement[Any], name: str) -> ColumnElement[str]:
        found = func.json_extract(array, quoted(f"$[#-1].{name}"))
        return cast(case((_is_json(array), found)), Text)

    def unicode(self, text: ColumnElement[str]) -> ColumnElement[str]:
        # Half a surrogate pair, which JSON can have. SQLite takes it for the mark of what is none,
        # and writes the mark where it puts the text together again, character by character.
        place, one = _PLACES.c.place, literal_column("1", Integer)
        character = func.char(func.unicode(func.substr(text, place, one)))
        marked = select(func.group_concat(character, quoted("")))
        marked = marked.where(place <= func.length(text))
        mark = func.char(literal_column("65533"))
        has_mark = text.op("GLOB", return_type=Boolean())(
            quoted("*").concat(mark).concat(quoted("*"))
        )
        return case((has_mark, marked.scalar_subquery()), else_=text)

    def appended(
        self, array: ColumnElement[Any], most: int, **fields: ColumnElement[Any]
    ) -> ColumnElement[Any]:
        named = [each for name, value in fields.items() for each in (quoted(name), value)]
        is_whole = and_(_is_json(array), func.length(array) < MOST_KEPT)
        valid = case((is_whole, array), else_=quoted("null"))
        is_array = func.json_type(valid) == quoted("array")
        # Not func's: sqlalchemy_utils, which Airflow 3.1 has, puts its own there, not to be cached.
        is_full = Function[Any]("json_array_length", valid) >= literal_column(str(most))
        kept = case(
            (~is_array, quoted("[]")),
            (is_full, func.json_remove(array, quoted("$[0]"))),
            else_=array,
        )
        return func.json_insert(kept, quoted("$[#]"), func.json_object(*named), type_=Text())

    def place(self, time: ColumnElement[datetime]) -> ColumnElement[str]:
        # Any bytes: what is no text is a blob, which sorts behind all texts.
        kind = func.substr(func.typeof(time), literal_column("1"), literal_column("1"))
        return kind.concat(func.hex(cast(time, LargeBinary))).cast(Text)

    def time_at(self, name: str) -> ColumnElement[datetime]:
        kind = bindparam(f"{name}_kind", type_=Text)
        value = bindparam(f"{name}_bytes", type_=LargeBinary)
        return case((kind == quoted("t"), cast(value, Text)), else_=value)

    def place_parameters(self, name: str, place: str) -> dict[str, Any]:
        if not place or place[0] not in "tb":
            raise ValueError(f"{place:.40} is no time")
        return {f"{name}_kind": place[0], f"{name}_bytes": bytes.fromhex(place[1:])}

    def position_in(self, text: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[int]:
        return func.instr(text, part)

    def after_last_slash(self, text: ColumnElement[str]) -> ColumnElement[str]:
        # Without the characters that are no slash, from its end, a text ends in a slash.
        others = func.replace(text, quoted("/"), quoted(""))
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
        whole = case((_is_json(document), document), else_=quoted("null"))
        conditions: list[ColumnElement[bool]] = []
        type_, found = func.json_type(whole), func.json_extract(whole, quoted("$"))
        for step in steps:
            member = _members(whole, f"{step}_member")
            conditions.append(cast(member.c.key, Text) == bindparam(step, type_=Text))
            type_, found = member.c.type, member.c.value
            is_container = type_.in_([quoted("object"), quoted("array")])
            whole = case((is_container, found), else_=quoted("null"))
        has_it = _has_scalar(type_, found, wanted, kind)
        return exists(select(literal_column("1")).where(*conditions, has_it)) if steps else has_it

    def value_parameter(self, value: str) -> Any:
        return json.loads(value) if value.startswith('"') else value

    def has_element_with(
        self, document: ColumnElement[Any], name: str, test: Callable[[Any], ColumnElement[bool]]
    ) -> ColumnElement[bool]:
        whole = case((_is_json(document), document), else_=quoted("null"))
        element = _members(_array(func.json_type(whole), whole), "element")
        is_object = element.c.type == quoted("object")
        field = case((is_object, func.json_extract(element.c.value, quoted(f"$.{name}"))))
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

    def receipts(self) -> FromClause:
        # An object of tokens by id: to take both out of a list of lists takes a fifth of an ack.
        item = func.json_each(bindparam("rows", type_=Text)).table_valued("key", "value")
        token = type_coerce(item.c.value, Text()).label("token")
        return select(cast(item.c.key, Integer).label("id"), token).subquery("item")

    def receipt_parameters(self, ids: Sequence[int], tokens: Sequence[UUID]) -> dict[str, Any]:
        tokens_by_id = {id_: token.hex for id_, token in zip(ids, tokens, strict=True)}
        return {"rows": json.dumps(tokens_by_id)}

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
    is_text = func.typeof(column) == quoted("text")
    return case((is_text, func.json_valid(column)), else_=literal_column("0")) == literal_column(
        "1"
    )


def _members(document: ColumnElement[Any], name: str) -> Any:
    """Return what a JSON document of SQLite has, as a table: itself if it has no members."""
    return func.json_each(document).table_valued(
        column("key"), column("value"), column("type", Text), name=name, joins_implicitly=True
    )


def _array(type_: ColumnElement[str], document: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((type_ == quoted("array"), document), else_=quoted("[]"))


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
            return and_(type_ == quoted("text"), found == wanted)
        case "number":
            is_number = type_.in_([quoted("integer"), quoted("real")])
            return and_(is_number, found == cast(wanted, Numeric))
        case _:
            return type_ == cast(wanted, Text)  # true, false and null are types of their own


def _stored(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    return Integer() if isinstance(type_, BigInteger) else Text()


SQLITE = _Sqlite("sqlite", has_lateral=False)
