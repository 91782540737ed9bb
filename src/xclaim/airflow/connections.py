"""From an Airflow connection to a database URL, a schema, and how payloads are stored."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

from xclaim.airflow import versions
from xclaim.airflow.payload_settings import options_of
from xclaim.errors import Commands, DatabaseUrlError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from xclaim.queues.placing import Placed

# What libpq and xclaim understand of a connection's extras. Others belong to Airflow's own hooks
# (cursor, iam, ...) and mean nothing here.
_QUERY_EXTRAS = (
    "application_name",
    "channel_binding",
    "connect_timeout",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "options",
    "passfile",
    "pool_size",
    "prepare_threshold",
    "service",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
)
PLACES_EXTRA = "xclaim_places"
PARTS_EXTRA = "xclaim_parts"
EXPORTED = "AIRFLOW_CONN_"  # begins the names of variables with connections
_WRITTEN = "write it as a URI, type://user:password@host:port/database, or as JSON"
_NO_EXTRA = 'its extra is no JSON object: write {"name": "value"}'
_POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")
_is_tested: ContextVar[bool] = ContextVar("is_tested", default=False)


class ConnectionLike(Protocol):
    """The parts of an Airflow connection that matter here."""

    conn_id: str
    conn_type: str | None
    host: str | None
    schema: str | None
    login: str | None
    password: str | None
    port: int | None
    extra: str | None

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """The extras as a dict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Where the message table is, and what the connection says of how payloads are stored.

    ``schema`` is the PostgreSQL schema if one is named. ``payload_options`` are options of
    ``Payloads``, those that the connection gives: they are made anew with each question, and two
    that are equal do not compare so. ``conn_id`` is for errors: two connections may lead to one
    database.
    """

    url: URL
    schema: str | None
    payload_options: Mapping[str, Any] = field(default_factory=dict, compare=False)
    conn_id: str = field(compare=False)

    @property
    def commands(self) -> Commands:
        """How one calls our commands on it."""
        return Commands(program=versions.program(), place=_option(self.conn_id), schema=self.schema)

    @property
    def engine_options(self) -> dict[str, Any]:
        """The options of an engine on it: it makes no file, and its errors name these commands.

        The ping costs a fifth of the rate, but a task may work for hours between its claim and its
        ack.
        """
        from xclaim.connections.missing_files import MAKES_NO_FILE
        from xclaim.sql.revision import COMMANDS

        ours = {COMMANDS: self.commands, MAKES_NO_FILE: True}
        return {"pool_pre_ping": True, "execution_options": ours}

    def placed(self, bind: Engine | AsyncEngine, *queues: str) -> Placed:
        """Return where queues are, or parts of one that is split, for errors to say it.

        :param bind: an engine on this database.
        :param queues: their names.
        """
        from xclaim.queues.placing import Placed

        names = ", ".join(queues)
        return Placed(
            bind=bind,
            schema=self.schema,
            whereabouts=f"xclaim: queue {names!r} is behind connection {self.conn_id!r}",
            place=self.conn_id,
            parts=queues,
        )


@contextmanager
def asking_for(conn_id: str) -> Iterator[None]:
    """Raise DatabaseUrlError, which says how to make it, if Airflow has no such connection.

    :param conn_id: which the block asks Airflow for.
    """
    try:
        yield
    except versions.AirflowNotFoundException as error:
        raise missing_connection(conn_id) from error


def missing_connection(conn_id: str) -> DatabaseUrlError:
    """Return the error that says how the connection is made, or what is wrong with it.

    :param conn_id: which Airflow does not know.
    """
    variable = f"{EXPORTED}{conn_id.upper()}"
    exported = os.environ.get(variable)
    if exported is not None:  # Airflow says of what it cannot read that it is not there
        return DatabaseUrlError(
            f"Airflow cannot read connection {conn_id!r}, which is in the environment as "
            f"{variable}: {_fault_of(exported)}"
        )
    quoted = shlex.quote(conn_id)
    unread = f", or its secrets backend has one that is no connection ({_WRITTEN})"
    return DatabaseUrlError(
        f"Airflow has no connection {conn_id!r}{unread if _has_secrets_backend() else ''}: make "
        f"it, as by `airflow connections add {quoted} --conn-uri "
        "postgresql://user:password@host/database` (or sqlite:////folder/xclaim.db), "
        f"then its table by `{versions.program()} upgrade{_option(conn_id)}`"
    )


def missing_or_stored(conn_id: str) -> DatabaseUrlError:
    """Return the same where Airflow's own database can be asked: in no task.

    :param conn_id: which Airflow does not know, or cannot read.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        is_there = f"{EXPORTED}{conn_id.upper()}" not in os.environ and is_stored(conn_id)
    except SQLAlchemyError:  # where somebody has Airflow's commands and no database of it
        is_there = False
    if not is_there:
        return missing_connection(conn_id)
    quoted = shlex.quote(conn_id)
    return DatabaseUrlError(
        f"Airflow cannot read connection {conn_id!r}, which is in its database: its password and "
        "its extra must have been encrypted with a key that is in [core] fernet_key, and the extra "
        f"must be a JSON object; else make it again, by `airflow connections delete {quoted}` and "
        f"`airflow connections add {quoted}`"
    )


def is_stored(conn_id: str) -> bool:
    """Return whether Airflow's database has the connection, readable or not.

    :param conn_id: of the connection.
    """
    from airflow.models import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        statement = select(Connection.conn_id).where(Connection.conn_id == conn_id)
        return session.scalar(statement) is not None


def _has_secrets_backend() -> bool:
    options = ("secrets", "backend"), ("workers", "secrets_backend")
    return any(versions.conf.get(*option, fallback="") for option in options)


def _fault_of(exported: str) -> str:
    """Return what is wrong with a connection as it is exported, without anything that it says."""
    port = "its port must be a number up to 65535; in a URI percent-encode signs of the password"
    try:
        if not exported.lstrip().startswith("{"):
            parts = urlsplit(exported)
            parts.port  # noqa: B018  (it raises)
            extra = next(iter(parse_qs(parts.query).get("__extra__", [])), None)
            return _WRITTEN if _is_object(extra) else _NO_EXTRA
    except ValueError:
        return port
    try:
        fields = json.loads(exported)
    except (ValueError, RecursionError):
        return "it begins as JSON and is none"
    if not _is_object(fields.get("extra")):
        return _NO_EXTRA
    if not str(fields.get("port") or 0).isdecimal():
        return port
    return "its fields are conn_type, host, schema, login, password, port and extra, and no others"


def _is_object(extra: object) -> bool:
    """Return whether an extra is none, a JSON object, or its text."""
    try:
        value = json.loads(extra) if isinstance(extra, str) and extra else extra
    except (ValueError, RecursionError):
        return False
    return isinstance(value or {}, dict)


def _option(conn_id: str) -> str:
    shown = "ID_OF_THIS_CONNECTION" if _is_drawn(conn_id) else shlex.quote(conn_id)
    return f" --conn-id {shown}"


@contextmanager
def testing() -> Iterator[None]:
    """Let errors in the block name no id that Airflow's button *Test* has drawn for a moment."""
    token = _is_tested.set(True)
    try:
        yield
    finally:
        _is_tested.reset(token)


def _is_drawn(conn_id: str) -> bool:
    """Return whether it may be an id that Airflow's button *Test* has drawn for a moment."""
    is_exported = f"{EXPORTED}{conn_id.upper()}" in os.environ
    is_like_it = re.fullmatch("[A-Za-z]{8}", conn_id) is not None
    return _is_tested.get() and is_exported and is_like_it


def places_of(connection: ConnectionLike, conn_id: str) -> Mapping[str, str]:
    """Return the ids of connections by patterns of queue names: the extra ``xclaim_places``.

    :param connection: which may have some.
    :param conn_id: of the connection.
    :raises DatabaseUrlError: they are no such mapping.
    """
    places = _extras(connection, conn_id).get(PLACES_EXTRA)
    if places in (None, ""):
        return {}
    if not isinstance(places, dict) or not all(
        isinstance(each, str) and each for each in places.values()
    ):
        raise DatabaseUrlError(
            f"{_places_said(conn_id)} must map queues to connections: write "
            '{"orders.*": "id_of_a_connection"}'
        )
    return places


def parts_of(connection: ConnectionLike, queue_name: str, conn_id: str) -> list[str]:
    """Return the parts of a queue, ``[]`` if it is not split: the extra ``xclaim_parts``.

    :param connection: which may say so.
    :param queue_name: the queue's name.
    :param conn_id: of the connection.
    :raises DatabaseUrlError: they are no numbers of parts.
    """
    from xclaim import places
    from xclaim.errors import InvalidArgumentError

    try:
        parts = places.checked_parts(_extras(connection, conn_id).get(PARTS_EXTRA) or None)
    except InvalidArgumentError as error:
        said = f"the extra {PARTS_EXTRA!r} of connection {conn_id!r}"
        raise DatabaseUrlError(f'{said} must be like {{"orders": 4}}: {error}') from None
    return places.parts_of(parts, queue_name)


def place_of(connection: ConnectionLike, queue_name: str, conn_id: str) -> str:
    """Return the id of the connection behind which a queue is: this one's, if it says no more.

    The first pattern of ``places_of`` that fits has it.

    :param connection: which may have places.
    :param queue_name: the queue's name.
    :param conn_id: of the connection.
    :raises DatabaseUrlError: there are places, and none of them fits; or the queue is split, and
        so in several.
    """
    from xclaim.places import fits

    if parts := parts_of(connection, queue_name, conn_id):
        raise DatabaseUrlError(
            f"queue {queue_name!r} is split into {len(parts)} parts, and this is for one place: "
            f"name one of them, {parts[0]!r} say"
        )

    places = places_of(connection, conn_id)
    for pattern, other in places.items():
        if fits(queue_name, pattern):
            return other
    if not places:
        return conn_id
    raise DatabaseUrlError(
        f"{_places_said(conn_id)} has no pattern that fits queue {queue_name!r}, only "
        f'{", ".join(places)}: add one, or "*" as the last'
    )


def _places_said(conn_id: str) -> str:
    return f"the extra {PLACES_EXTRA!r} of connection {conn_id!r}"


def database_of(connection: ConnectionLike, conn_id: str | None = None) -> Database:
    """Return the database a connection leads to.

    :param connection: of type ``xclaim`` (with a host PostgreSQL, without one a SQLite file named
        in the schema field), ``postgres``, ``sqlite``, or a URI of these.
    :param conn_id: what it was asked for by, where Airflow may have dropped its id.
    :raises DatabaseUrlError: for another type, or when there is no file; without any secret.
    """
    conn_id = conn_id or str(connection.conn_id)
    match connection.conn_type:
        case "xclaim" if connection.host:
            return _postgresql(connection, conn_id)
        case "xclaim" | "sqlite":
            return _sqlite(connection, conn_id)
        case conn_type if conn_type in _POSTGRESQL:
            return _postgresql(connection, conn_id)
        case "generic":
            raise DatabaseUrlError(
                f"connection {conn_id!r} has the type 'generic', which Airflow makes of a type "
                "whose provider is not installed: make it again, as by `airflow connections add "
                "--conn-type xclaim`, or with `--conn-uri postgresql://user:password@host/database`"
            )
        case conn_type:
            raise DatabaseUrlError(
                f"connection {conn_id!r} has the type {conn_type!r}, which xclaim "
                "cannot use: make it one of xclaim, postgres, sqlite"
            )


def _postgresql(connection: ConnectionLike, conn_id: str) -> Database:
    from sqlalchemy import URL

    if "@" in (connection.host or ""):  # which errors and logs would show
        raise DatabaseUrlError(
            f"the host of connection {conn_id!r} has an @: in a URI write %40 for an @ "
            "in the password, %2F for a /, %23 for a # and %25 for a %"
        )
    extras = _extras(connection, conn_id)
    query = {
        name: str(extras[name]) for name in _QUERY_EXTRAS if extras.get(name) not in (None, "")
    }
    url = URL.create(
        "postgresql+psycopg",
        username=connection.login or None,
        password=connection.password or None,
        host=connection.host or None,
        port=connection.port,
        database=connection.schema or None,
        query=query,
    )
    return Database(
        url=url,
        schema=extras.get("xclaim_schema") or None,
        conn_id=conn_id,
        payload_options=options_of(conn_id, extras),
    )


def _sqlite(connection: ConnectionLike, conn_id: str) -> Database:
    from sqlalchemy import URL

    path = connection.host or connection.schema
    if not path:
        way_out = (
            "fill in the file's path as host"
            if connection.conn_type == "sqlite"
            else "fill in the host for PostgreSQL, or the file's path as schema"
        )
        raise DatabaseUrlError(
            f"connection {conn_id!r} of type {connection.conn_type!r} names no database: {way_out}"
        )
    extras = _extras(connection, conn_id)
    if extras.get("xclaim_schema"):
        raise DatabaseUrlError(
            f"connection {conn_id!r} names a schema, and SQLite has none: remove the "
            "extra 'xclaim_schema', or fill in the host for PostgreSQL"
        )
    url = URL.create("sqlite", database=path)
    options = options_of(conn_id, extras)
    return Database(url=url, schema=None, conn_id=conn_id, payload_options=options)


def _extras(connection: ConnectionLike, conn_id: str) -> dict[str, Any]:
    extras: object = connection.extra_dejson
    # Airflow takes what it cannot read for none, and so would drop that payloads are encrypted.
    if not isinstance(extras, dict) or not _is_object(connection.extra):
        raise DatabaseUrlError(
            f'the extra of connection {conn_id!r} is no JSON object: write {{"name": "value"}}'
        )
    return extras
