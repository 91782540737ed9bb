"""Column types that read alike from both databases, and what SQLite's text is read as."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    DateTime,
    FromClause,
    Join,
    LargeBinary,
    Text,
    true,
)
from sqlalchemy import Dialect as SqlDialect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator, TypeEngine

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
    text = value if isinstance(value, str) else text_of(value)
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
