"""Databases for the tests: where PostgreSQL comes from, and scratch databases on it.

PostgreSQL comes from the first of

1. the server in `XCLAIM_TEST_DATABASE_URL`, whose user may create databases;
2. a container, if a Docker engine answers, of the image in `XCLAIM_TEST_POSTGRESQL_IMAGE`;
3. the embedded PostgreSQL, also if the container does not start and nobody named an image.

The tests create databases of their own, named `xclaim_test_*`, and drop them. The database that
the URL names is only connected to, so that others can be created: nothing in it is read or changed.

With `XCLAIM_TEST_SCHEMA` besides, the contract runs in a new schema of that name in that very
database, and drops it: for a server that makes no copies of databases, as Citus does not.
"""

import gc
import os
import secrets
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import docker
import psycopg
from docker.errors import DockerException
from psycopg import sql
from sqlalchemy import URL, make_url

from xclaim.embedded import embedded_postgresql

_DEFAULT_IMAGE = "postgres:18-alpine"
_MEMORY = Path("/dev/shm")  # noqa: S108  (of Linux; what is made there has a name of its own)
_ROOM = 2 * 1024**3  # bytes: a container has 64 MB unless somebody gives it more
_ROOM_OF_A_SERVER = 2 * _ROOM  # its log alone may have one gigabyte


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A PostgreSQL server, the URL of somebody who may create databases, and its origin."""

    url: str
    origin: str


def postgresql_server() -> AbstractContextManager[Server]:
    """Run or find the PostgreSQL server for this test run."""
    if "XCLAIM_TEST_DATABASE_URL" in os.environ:
        return _given()
    if docker_answers():
        return _container()
    return _embedded("no Docker engine answers")


def describe_choice() -> str:
    """Say where PostgreSQL will come from, before anything is started."""
    if "XCLAIM_TEST_DATABASE_URL" in os.environ:
        return "the server in XCLAIM_TEST_DATABASE_URL"
    if docker_answers():
        return f"a container of {_image()}, because a Docker engine answers"
    return "embedded, because no Docker engine answers"


def describe_server(server: Server) -> str:
    """Say which server the tests really ran on: its version, origin and address."""
    url = make_url(server.url)
    version = _administrator(server.url).info.parameter_status("server_version")
    return f"PostgreSQL {version}, {server.origin}, at {url.host}:{url.port}"


def given_schema() -> str | None:
    """Return the schema in which the contract is to run, if not in databases of its own."""
    return os.environ.get("XCLAIM_TEST_SCHEMA") or None


def is_citus() -> bool:
    """Return whether the database that is given in XCLAIM_TEST_DATABASE_URL, if any, has Citus."""
    url = os.environ.get("XCLAIM_TEST_DATABASE_URL")
    if url is None:
        return False
    found = _administrator(url).execute("SELECT 1 FROM pg_extension WHERE extname = 'citus'")
    return found.fetchone() is not None


@contextmanager
def temporary_schema(server_url: str, name: str) -> Iterator[str]:
    """Create an empty schema; yield a URL whose search path is that alone, and drop it.

    Statements of xclaim name the schema, those of the tests themselves find it by the path.
    """
    administrator = _administrator(server_url)
    schema = sql.Identifier(name)
    administrator.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
    try:
        url = make_url(server_url).update_query_dict({"options": f"-csearch_path={name}"})
        yield url.render_as_string(hide_password=False)
    finally:
        administrator.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))


@cache
def docker_answers() -> bool:
    """Ask the Docker engine, if there is one, for a sign of life."""
    try:
        with closing(docker.from_env(timeout=5)) as client:
            return bool(client.ping())
    except DockerException:
        pass
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # a socket that docker leaves open where nobody answers
    return False


def disconnect(server_url: str) -> None:
    """Close the connection that created the databases of a server."""
    _administrator(server_url).close()


@contextmanager
def temporary_database(
    server_url: str, *, template: str | None = None, encoding: str | None = None
) -> Iterator[str]:
    """Create an empty database, or a copy of the one at `template`; yield its URL and drop it."""
    administrator = _administrator(server_url)
    name = f"xclaim_test_{os.getpid()}_{secrets.token_hex(4)}"
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        source = make_url(template).database or ""
        create += sql.SQL(" TEMPLATE {}").format(sql.Identifier(source))
        if _copies_files(server_url):
            create += sql.SQL(" STRATEGY FILE_COPY")
    if encoding is not None:
        create += sql.SQL(" ENCODING {} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'").format(
            sql.Literal(encoding)
        )
    administrator.execute(create)
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        _disconnect_others(administrator, name)
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        administrator.execute(drop)


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


@contextmanager
def sqlite_folder() -> Iterator[Path]:
    """Make a folder for SQLite files, in memory where there is room for them.

    Each commit is flushed to the disk, which takes longer than all else that a verb does. That they
    are flushed is tested by what a connection is set to; no test switches the power off.
    """
    room = _MEMORY if _has_room(_MEMORY, _ROOM) else None
    with tempfile.TemporaryDirectory(
        prefix="xclaim-sqlite-", dir=room, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _has_room(folder: Path, room: int) -> bool:
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= room


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database together with what is still in its write-ahead log."""
    target.touch(0o600)  # as xclaim makes one
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(target)) as writer:
        reader.backup(writer)


def _image() -> str:
    return os.environ.get("XCLAIM_TEST_POSTGRESQL_IMAGE", _DEFAULT_IMAGE)


@contextmanager
def _given() -> Iterator[Server]:
    url = make_url(os.environ["XCLAIM_TEST_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    yield Server(
        url=url.render_as_string(hide_password=False), origin="from XCLAIM_TEST_DATABASE_URL"
    )


@contextmanager
def _embedded(reason: str) -> Iterator[Server]:
    with postgresql_in_memory() as url:
        yield Server(url=url, origin=f"embedded, because {reason}")


@contextmanager
def postgresql_in_memory(version: int = 18) -> Iterator[str]:
    """Run an embedded server whose files lie in memory, where there is room for them.

    A copy of a template is 300 files: on a disk that is busy it takes ten times the CPU. And to
    hash a password 4,096 times is half of what a connection costs.
    """
    before = tempfile.tempdir
    with ExitStack() as stack:
        if _has_room(_MEMORY, _ROOM_OF_A_SERVER) and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC:
            tempfile.tempdir = str(_MEMORY)  # not a `directory`: that outlives a process killed
        try:
            server = embedded_postgresql(
                version=version, durable=False, settings={"scram_iterations": "1"}
            )
            url = stack.enter_context(server)
        finally:
            tempfile.tempdir = before
        _hash_again(url)
        yield url


def _hash_again(server_url: str) -> None:
    """Have the superuser's password hashed as the server is set to: initdb knows no settings."""
    administrator = _administrator(server_url)
    password = sql.Literal(make_url(server_url).password)
    administrator.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))


@contextmanager
def _container() -> Iterator[Server]:
    """Run a container; if the engine cannot and nobody asked for an image, run the embedded one."""
    from testcontainers.community.postgres import PostgresContainer

    image = _image()
    with ExitStack() as stack:
        try:
            container = stack.enter_context(PostgresContainer(image, driver="psycopg"))
            server = Server(url=container.get_connection_url(), origin=f"container of {image}")
        except DockerException as error:
            if "XCLAIM_TEST_POSTGRESQL_IMAGE" in os.environ:
                raise
            server = stack.enter_context(_embedded(f"no container of {image} started: {error}"))
        yield server


@cache
def _administrator(server_url: str) -> psycopg.Connection:
    """Connect once for the run: a connection's first CREATE DATABASE takes three times as long."""
    url = make_url(server_url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)


@cache
def _copies_files(server_url: str) -> bool:
    """Return whether to copy a template's files, and not page by page through the log.

    Where nothing is flushed that takes half the CPU, of the DROP as well; else the checkpoints that
    it needs cost more than they save. PostgreSQL 14 has no such choice.
    """
    administrator = _administrator(server_url)
    (fsync,) = administrator.execute("SHOW fsync").fetchone() or ("on",)
    return fsync == "off" and administrator.info.server_version >= 15_00_00


def _disconnect_others(administrator: psycopg.Connection, database: str) -> None:
    """End all connections to a database; FORCE would do, but always waits for 100 ms."""
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = %s AND backend_type = 'client backend'"
    )
    deadline = time.monotonic() + 5
    while administrator.execute(terminate, [database]).fetchall() and time.monotonic() < deadline:
        time.sleep(0.002)
