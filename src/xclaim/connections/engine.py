"""An engine from a URL, with the settings each database needs."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sqlalchemy import URL, Dialect, Engine, event, make_url
from sqlalchemy import create_engine as sqlalchemy_create_engine
from sqlalchemy.exc import ArgumentError, DisconnectionError

from xclaim.connections import forks, missing_files, resting, settings
from xclaim.connections.busy_files import PAUSE, PatientConnection, is_busy, is_closed
from xclaim.connections.calls import current_call
from xclaim.connections.missing_files import MAKES_NO_FILE
from xclaim.connections.pools import pool_options
from xclaim.errors import Commands, DatabaseUrlError
from xclaim.payloads import plain_json
from xclaim.sql.revision import COMMANDS

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_OLDEST_SQLITE = (3, 35)  # RETURNING, https://www.sqlite.org/lang_returning.html
_DRIVERS = {
    ("postgresql", "psycopg"),
    ("postgresql", "psycopg_async"),
    ("sqlite", "pysqlite"),
    ("sqlite", "aiosqlite"),
}
# A connection that died without a word is noticed within a minute, not after two hours.
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-KEEPALIVES-IDLE
# And who cannot connect learns it while somebody is still waiting for an answer.
# The encoding is a parameter of connecting, which pgbouncer passes on.
_DEFAULTS = {
    "client_encoding": "UTF8",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
# An execution option of ours: what an engine's connections have unless told otherwise. SQLAlchemy's
# own, isolation_level, is set and reset around each use.
DEFAULT_ISOLATION_LEVEL = "xclaim_default_isolation_level"
_begin_themselves: WeakSet[Engine] = WeakSet()  # of SQLite, made here: their driver begins nothing
# In the `info` of a connection: whether its statements in autocommit run at a stricter level than
# READ COMMITTED, because the server, the database or the role says so. Not there: nobody knows yet.
IS_STRICTER = "xclaim_is_stricter"
_READ_COMMITTED = "READ COMMITTED"
READ_ONLY = "25006"  # https://www.postgresql.org/docs/current/errcodes-appendix.html
# The decoder is quicker than the driver's own. To look for hstore, SQLAlchemy asks the server by
# operators of the search path, once per engine.
_POSTGRESQL: dict[str, Any] = {"json_deserializer": plain_json.decode, "use_native_hstore": False}
_SQLITE_WAIT_SECONDS = 30  # for the one writer: far longer than any statement of ours takes
_OPENING_TURN = 50  # milliseconds


def create_engine(url: str | URL, **options: Any) -> Engine:
    """Return an engine for ``postgresql://`` (psycopg 3) or ``sqlite:///``.

    After a fork the child has a pool of its own.
    PostgreSQL gets TCP keep-alives that notice a dead connection within a minute, UTF-8, ISO dates
    and READ COMMITTED whatever the server or role sets, and a connection is dropped when its server
    turns out to be read-only, or has ended it while it rested. SQLite gets WAL,
    ``synchronous=FULL``, a busy timeout of 30 s or the URL's ``timeout``, and ``BEGIN IMMEDIATE``.
    A URL query ``prepare_threshold=none`` turns prepared statements off, for a pooler that needs
    it. The pool has 96 places, each of which is a connection once that many are needed at a time,
    and no overflow; ``pool_size`` gives it others, in the URL query or as an option. Who finds none
    within 30 seconds (``pool_timeout``) gets NoConnectionError.
    ``options`` are SQLAlchemy's; ``hide_parameters`` is on unless you say otherwise, because its
    errors and its log would show payloads and tokens. Raise DatabaseUrlError if the URL cannot be
    used; nothing is connected yet.
    """
    parsed, options = _prepared(url, options, is_async=False)
    if parsed.get_backend_name() != "sqlite":
        driver = "postgresql+psycopg"
        options = _POSTGRESQL | options
        engine = sqlalchemy_create_engine(parsed.set(drivername=driver), **options)
        _prepare_postgresql(engine, options.get("isolation_level"))
    else:
        engine = sqlalchemy_create_engine(parsed.set(drivername="sqlite"), **options)
        _prepare_sqlite(engine)
    _prepare(engine)
    return engine


def create_async_engine(url: str | URL, **options: Any) -> AsyncEngine:
    """Return an asyncio engine, with the same URLs and settings as ``create_engine``."""
    # Half the cost of importing this module, which blocking code need not pay.
    from sqlalchemy.ext.asyncio import create_async_engine as sqlalchemy_create_async_engine

    parsed, options = _prepared(url, options, is_async=True)
    if parsed.get_backend_name() != "sqlite":
        driver = "postgresql+psycopg_async"
        options = _POSTGRESQL | options
        engine = sqlalchemy_create_async_engine(parsed.set(drivername=driver), **options)
        _prepare_postgresql(engine.sync_engine, options.get("isolation_level"))
    else:
        driver = "sqlite+aiosqlite"
        engine = sqlalchemy_create_async_engine(parsed.set(drivername=driver), **options)
        _prepare_sqlite(engine.sync_engine)
    _prepare(engine.sync_engine)
    return engine


def create_verb_engine(url: str | URL, *, commands: Commands | None = None) -> Engine:
    """Return an engine for verbs only: in autocommit, as is each connection of its pool.

    It makes no SQLite file, in which there would be no table. ``commands``: those that its errors
    name.
    """
    return create_engine(url, **_verb_options(url, commands))


def create_async_verb_engine(url: str | URL, *, commands: Commands | None = None) -> AsyncEngine:
    """Return the same for asyncio."""
    return create_async_engine(url, **_verb_options(url, commands))


def parse_url(url: str | URL) -> URL:
    """Return the URL if xclaim can use it. Raise DatabaseUrlError, without the password, if not."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(
            "the database URL is malformed: write postgresql://user:password@host:5432/database "
            "or sqlite:///file.db (a password with special characters percent-encoded)"
        ) from None  # the error of the parser may quote a part of the password
    match parsed.drivername:
        case "postgresql" | "postgres" | "postgresql+psycopg" | "postgresql+psycopg_async":
            _check_password(parsed, url if isinstance(url, str) else "")
            return _with_password(parsed.set(drivername="postgresql+psycopg"))
        case "sqlite" | "sqlite+pysqlite" | "sqlite+aiosqlite":
            _check_slashes(parsed)
            return parsed.set(drivername="sqlite")
        case name:
            raise _unsupported(*name.split("+", 1))


def _check_password(url: URL, text: str) -> None:
    """Raise DatabaseUrlError if a part of the password is taken for the host or what follows."""
    address, _, query = text.partition("?")
    in_query = any("@" in part and "=" not in part for part in query.split("&"))
    in_database = url.password is not None and "@" in address.partition("@")[2]
    if in_query or in_database or {"@", "#"} & {*(url.host or "")}:  # errors and logs would show it
        raise DatabaseUrlError(
            "the database URL has an @ more than it should: in a user name, password or database "
            "write %40 for @, %2F for /, %3A for :, %23 for #, %3F for ? and %25 for %, as "
            "urllib.parse.quote(password, safe='') does"
        )


def _check_slashes(url: URL) -> None:
    """Raise DatabaseUrlError if the file, or a part of its path, is taken for a server."""
    if (url.username, url.password, url.host, url.port) != (None, None, None, None):
        raise DatabaseUrlError(
            "the database URL has a server, and SQLite has none: write sqlite:///file.db, with "
            "three slashes, or sqlite:////folder/file.db, with four, from the root on"
        )


def _with_password(url: URL) -> URL:
    """Return the URL with the password of its query where SQLAlchemy knows that it is one."""
    user, password = url.query.get("user"), url.query.get("password")
    if url.password is not None or not isinstance(password, str):
        return url
    if isinstance(user, str) and url.username is None:
        url = url.difference_update_query(["user"]).set(username=user)
    return url.difference_update_query(["password"]).set(password=password)


def shown_url(url: URL) -> str:
    """Return the URL for people and logs: without its passwords, those in the query included."""
    secrets = [name for name in url.query if "password" in name]
    return url.difference_update_query(secrets).render_as_string(hide_password=True)


def check_driver(dialect: Dialect) -> None:
    """Raise DatabaseUrlError unless an engine's database and driver are ones xclaim uses."""
    if (dialect.name, dialect.driver) not in _DRIVERS:
        raise _unsupported(dialect.name, dialect.driver)


def _unsupported(database: str, driver: str = "") -> DatabaseUrlError:
    name = f"{database}+{driver}" if driver else database
    match database:
        case "postgresql" | "postgres":
            return DatabaseUrlError(
                f"driver {name!r} is not supported: xclaim uses psycopg 3, for asyncio too, write "
                "postgresql+psycopg://user@host/database"
            )
        case "sqlite":
            return DatabaseUrlError(
                f"driver {name!r} is not supported: xclaim uses that of Python, and aiosqlite for "
                "asyncio, write sqlite:///file.db"
            )
        case _:
            return DatabaseUrlError(
                f"database {name!r} is not supported: xclaim uses PostgreSQL and SQLite, write "
                "postgresql+psycopg://user@host/database or sqlite:///file.db"
            )


def is_in_memory(url: URL) -> bool:
    """Return whether the URL is of a SQLite database that lives in one connection."""
    if url.get_backend_name() != "sqlite":
        return False
    return url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"


def is_verb_engine(engine: Engine | AsyncEngine) -> bool:
    """Return whether the engine is of ``create_verb_engine``, in autocommit by itself."""
    return DEFAULT_ISOLATION_LEVEL in engine.get_execution_options()


def in_autocommit(engine: Engine) -> Engine:
    """Return the engine so that each statement is a transaction of its own: as verbs take it.

    Of SQLite's drivers ours open no transactions, so that nothing has to be set for it, and back
    again, on each connection that a verb takes: with asyncio each step goes to a thread.
    """
    if is_verb_engine(engine):
        return engine
    if engine in _begin_themselves:
        return engine.execution_options(**{DEFAULT_ISOLATION_LEVEL: "AUTOCOMMIT"})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def is_said_autocommit(options: Mapping[str, Any]) -> bool:
    """Return whether the execution options of a connection say that statements commit alone."""
    level = options.get("isolation_level", options.get(DEFAULT_ISOLATION_LEVEL))
    return bool(level == "AUTOCOMMIT")


def _verb_options(url: str | URL, commands: Commands | None) -> dict[str, Any]:
    parsed = parse_url(url)
    ours = {} if commands is None else {COMMANDS: commands}
    if parsed.get_backend_name() == "sqlite":
        if is_in_memory(parsed):
            return {}
        return {"execution_options": {MAKES_NO_FILE: True, **ours}}
    return {
        "isolation_level": "AUTOCOMMIT",
        "execution_options": {DEFAULT_ISOLATION_LEVEL: "AUTOCOMMIT", **ours},
        "pool_reset_on_return": None,  # there is no transaction to roll back
    }


def _prepared(
    url: str | URL, options: dict[str, Any], *, is_async: bool
) -> tuple[URL, dict[str, Any]]:
    parsed = parse_url(url)
    in_memory = is_in_memory(parsed)
    parsed, options = pool_options(parsed, options, is_in_memory=in_memory, is_async=is_async)
    options = {"hide_parameters": True} | options
    if parsed.get_backend_name() == "sqlite":
        _check_sqlite_version()
        options = _with_connect_args(options, factory=PatientConnection)
        if "timeout" not in parsed.query:
            options = _with_connect_args(options, timeout=_SQLITE_WAIT_SECONDS)
        return parsed, options
    _check_psycopg()
    _check_encoding(parsed)
    said = {*parsed.query, *(["connect_timeout"] if "PGCONNECT_TIMEOUT" in os.environ else [])}
    options = _with_connect_args(
        options, **{name: value for name, value in _DEFAULTS.items() if name not in said}
    )
    threshold = parsed.query.get("prepare_threshold")
    if threshold is None:
        return parsed, options
    if threshold != "none" and not str(threshold).isdigit():
        raise DatabaseUrlError(
            f"prepare_threshold={threshold} in the database URL must be a number, or none "
            "to switch prepared statements off"
        )
    number = None if threshold == "none" else int(str(threshold))
    return (
        parsed.difference_update_query(["prepare_threshold"]),
        _with_connect_args(options, prepare_threshold=number),
    )


def _check_encoding(url: URL) -> None:
    said = url.query.get("client_encoding")
    if said is not None and str(said).upper().replace("-", "") not in ("UTF8", "UNICODE"):
        raise DatabaseUrlError(
            f"client_encoding={said} in the database URL must be utf8: leave it out, whatever the "
            "encoding of the database"
        )


def _with_connect_args(options: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    return options | {"connect_args": defaults | options.get("connect_args", {})}


def _check_sqlite_version() -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise DatabaseUrlError(
            f"SQLite {sqlite3.sqlite_version} is too old, xclaim needs 3.35: use a Python "
            "built with a newer SQLite, or PostgreSQL"
        )


def _check_psycopg() -> None:
    try:
        import psycopg  # noqa: F401  (psycopg is optional: imported only for PostgreSQL)
    except ImportError as error:
        raise DatabaseUrlError(
            'PostgreSQL needs psycopg 3: run pip install "xclaim[postgresql]"'
        ) from error


def _prepare(engine: Engine) -> None:
    place = missing_files.url_option(engine.url)
    if place and COMMANDS not in engine.get_execution_options():
        engine.update_execution_options(**{COMMANDS: Commands(place=place)})
    if engine.get_execution_options().get(MAKES_NO_FILE):
        missing_files.refuse_always(engine)  # before the next, which connects
    if not is_in_memory(engine.url):  # whose one connection is the database
        forks.protect(engine)
    dialect: Any = engine.dialect
    do_ping = dialect.do_ping

    def ping(connection: Any) -> Any:
        call = current_call()
        if call is not None:  # the server may have gone silent since the connection was used
            call.use(dialect.get_driver_connection(connection))
        return do_ping(connection)

    dialect.do_ping = ping


def is_as_strict_as_needed(level: str) -> bool:
    """Return whether a level of isolation is READ COMMITTED, by this name or the other it has."""
    return level.upper() in (_READ_COMMITTED, "READ UNCOMMITTED")


def _prepare_postgresql(engine: Engine, level: str | None) -> None:
    """Let each connection be the one that is tested, at the ``level`` of isolation that is given.

    All here is known or set without a round trip, but where the role has other dates or a stricter
    level.
    """
    dialect: Any = engine.dialect
    is_disconnect = dialect.is_disconnect
    # SQLAlchemy's own looks for the function along the search path.
    dialect._get_default_schema_name = _current_schema  # noqa: SLF001
    first: list[str | None] = []

    def is_lost(error: Any, connection: Any, cursor: Any) -> bool:
        if is_disconnect(error, connection, cursor):
            return True
        # A primary that became a standby: to connect anew finds the one that is primary now.
        if getattr(error, "sqlstate", None) != READ_ONLY or connection is None:
            return False
        return not _is_the_callers(dialect.get_driver_connection(connection))

    dialect.is_disconnect = is_lost
    resting.watch(engine, _pause_of(engine))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        driver = dialect.get_driver_connection(connection)
        settings.write_iso_dates(connection, driver)
        if level not in (None, "AUTOCOMMIT"):
            return
        # Asked by SQLAlchemy, once per engine; not in the child of a process that was just asking.
        if not first:
            first.append(getattr(dialect, "default_isolation_level", None))
        is_stricter = first[0] is None or not is_as_strict_as_needed(first[0])
        if is_stricter:
            is_stricter = not settings.begin_read_committed(connection, driver)
        record.info[IS_STRICTER] = is_stricter
        if level is None:
            dialect.default_isolation_level = _READ_COMMITTED  # to which it resets connections
            dialect.set_isolation_level(connection, _READ_COMMITTED)


def _is_the_callers(driver: Any) -> bool:
    """Return whether a transaction is read-only because its user said so, and not the server.

    That reports if it is a standby, or makes all transactions read-only; some poolers do not hand
    it on.
    """
    if driver.read_only is True:
        return True
    reported = driver.pgconn.parameter_status
    says = [reported(name) for name in (b"in_hot_standby", b"default_transaction_read_only")]
    return not driver.autocommit and says == [b"off", b"off"]


def _current_schema(connection: Any) -> Any:
    return connection.exec_driver_sql("SELECT pg_catalog.current_schema()").scalar()


def _prepare_sqlite(engine: Engine) -> None:
    _begin_themselves.add(engine)
    pause = _pause_of(engine)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        try:
            connection.isolation_level = None  # the driver opens no transactions, `begin` does
            cursor = connection.cursor()
            timeout = _busy_timeout(cursor)
            forks.let_verbs_wait(timeout / 1000)
            _set_wal_mode(cursor, timeout, pause)
            cursor.execute("PRAGMA synchronous=FULL")  # an acked message stays acked after a crash
            cursor.close()
        except BaseException:  # else aiosqlite would keep a thread for it
            forks.forget_file(connection)
            connection.close()
            raise

    @event.listens_for(engine, "checkout")
    def look(_: Any, record: Any, __: Any) -> None:
        if is_closed(record.driver_connection):
            raise DisconnectionError("the connection was closed")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # IMMEDIATE: a transaction that starts by reading could not become the writer later.
        if not is_said_autocommit(connection.get_execution_options()):
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _busy_timeout(cursor: Any) -> int:
    """Return for how many milliseconds a connection waits for the file."""
    cursor.execute("PRAGMA busy_timeout")
    [milliseconds] = cursor.fetchone()
    return int(milliseconds)


def _set_wal_mode(cursor: Any, timeout: int, pause: Callable[[float], object]) -> None:
    """Wait for others who are changing the mode or closing the file.

    For some of them SQLite itself does not wait; for the others a cancellation could not end it.
    """
    ends_at = time.monotonic() + timeout / 1000
    cursor.execute(f"PRAGMA busy_timeout = {min(timeout, _OPENING_TURN)}")
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= ends_at:
                raise
        pause(PAUSE)
    cursor.execute(f"PRAGMA busy_timeout = {timeout}")


def _pause_of(engine: Engine) -> Callable[[float], None]:
    return _asyncio_pause if engine.dialect.is_async else time.sleep


def _asyncio_pause(seconds: float) -> None:
    import asyncio

    from sqlalchemy.util import await_only

    await_only(asyncio.sleep(seconds))
