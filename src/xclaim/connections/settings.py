"""What a session of PostgreSQL must be set to, for a verb to do there what it does elsewhere.

The server reports these settings by itself, when they are set and when they change, and a pooler
hands them on: to look at them takes no round trip.
"""

from __future__ import annotations

from typing import Any

from xclaim.errors import InvalidArgumentError

_NO_ENCODING = (
    "the database has the encoding SQL_ASCII, which does not check texts: create one with "
    "ENCODING 'UTF8'"
)
_OTHER_ENCODING = (
    "the connection has client_encoding {}, in which JSON from PostgreSQL is misread: make its "
    'engine with xclaim.create_engine, or with connect_args={{"client_encoding": "utf8"}}'
)
_OTHER_DATES = (
    "the connection has DateStyle {}, in which the driver reads no times: make its engine with "
    "xclaim.create_engine, or SET DateStyle TO ISO"
)

_BAD = 1  # of libpq's states of a connection

_READ_COMMITTED = (
    "SELECT pg_catalog.set_config('default_transaction_isolation', 'read committed', false)"
    " WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %(pid)s::integer"
)


def check(driver: Any) -> None:
    """Raise InvalidArgumentError, before anything is sent, unless a verb would be understood.

    Connections of our engines are set up when they are made; those of others are not touched.
    ``driver`` is the driver's connection.
    """
    pgconn = driver.pgconn
    if pgconn.status == _BAD:
        return  # it is closed, as the statement tells
    reported = pgconn.parameter_status
    encoding, dates = reported(b"client_encoding"), reported(b"DateStyle")
    if encoding != b"UTF8" and encoding is not None and not _is_utf8(encoding):
        raise InvalidArgumentError(_OTHER_ENCODING.format(encoding.decode()))
    if dates is not None and not dates.startswith(b"ISO"):
        raise InvalidArgumentError(_OTHER_DATES.format(dates.decode()))
    if reported(b"server_encoding") == b"SQL_ASCII":
        raise InvalidArgumentError(_NO_ENCODING)


def _is_utf8(encoding: bytes) -> bool:
    # A pooler reports the name that the client has used.
    return encoding.upper().replace(b"-", b"") in (b"UTF8", b"UNICODE")


def write_iso_dates(connection: Any, driver: Any) -> None:
    """Let a new connection of our own write times as the driver reads them.

    ``connection`` is as SQLAlchemy has it. The encoding is said when it connects.
    """
    dates = driver.pgconn.parameter_status(b"DateStyle")
    if dates is not None and not dates.startswith(b"ISO"):
        _run(connection, driver, "SET DateStyle TO ISO")


def begin_read_committed(connection: Any, driver: Any) -> bool:
    """Let a new connection of our own begin at READ COMMITTED; return whether it does.

    Not behind a pooler, which would hand the setting on to others: it gives out process numbers of
    its own.
    """
    return _run(connection, driver, _READ_COMMITTED, {"pid": driver.info.backend_pid}) > 0


def _run(connection: Any, driver: Any, text: str, parameters: Any = None) -> int:
    """Run a statement, and return for how many rows; it ends its transaction, if it is in one."""
    cursor = connection.cursor()
    cursor.execute(text, parameters)
    rows: int = cursor.rowcount
    cursor.close()
    if not driver.autocommit:
        connection.commit()
    return rows
