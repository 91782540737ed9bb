"""Every way in which the databases differ: PostgreSQL, and SQLite which is the same except...

Column types that read alike from both, and one ``Dialect`` object per database with the
expressions the statements are built from.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Double, bindparam

from xclaim.errors import DatabaseUrlError
from xclaim.sql.dialects.postgresql import POSTGRESQL, Dialect
from xclaim.sql.dialects.sqlite import SQLITE
from xclaim.sql.dialects.types import (
    CrossJoin,
    Json,
    UtcTimestamp,
    marked,
    text_of,
    time_of,
    token_of,
)

__all__ = [
    "CHANNEL",
    "POSTGRESQL",
    "SQLITE",
    "CrossJoin",
    "Dialect",
    "Json",
    "UtcTimestamp",
    "dialect_of",
    "marked",
    "seconds_parameter",
    "text_of",
    "time_of",
    "token_of",
]

CHANNEL = "xclaim"  # of NOTIFY; the payload is the name of the queue


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
