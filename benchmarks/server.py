"""The server under the benchmarks: durable, and a fresh database for every measurement."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from benchmarks.contenders import load
from xclaim.embedded import embedded_postgresql

SETTINGS = {
    "max_connections": "300",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",  # none in the middle of a measurement: each begins with one
}
_numbers = itertools.count(1)


class Server:
    """A PostgreSQL server with a template database for each contender."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql")
        self._templates: set[str] = set()

    @contextmanager
    def database(self, contender: str) -> Iterator[str]:
        """Yield the URL of a new database in which the contender is installed."""
        with self.copy_of(self._template(contender)) as url:
            yield url

    @contextmanager
    def copy_of(self, template: str = "template1") -> Iterator[str]:
        """Yield the URL of a new database: a copy, empty if no other template is named."""
        name = f"bench_{next(_numbers)}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self._url_of(name)
        finally:
            self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def setting(self, name: str) -> str:
        """Return the value of one of PostgreSQL's settings."""
        with closing(psycopg.connect(self._url_of("postgres"))) as connection:
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
        return str(row and row[0])

    def _template(self, contender: str) -> str:
        name = f"template_{contender}".replace(" ", "_").replace("-", "_")
        if name not in self._templates:
            contestant = load(contender)
            self._administer(f"DROP DATABASE IF EXISTS {name}")  # of an install that failed
            self._administer(f"CREATE DATABASE {name}")
            contestant.install(self._url_of(name))
            self._templates.add(name)
        return name

    def _administer(self, statement: str) -> None:
        with closing(psycopg.connect(self._url_of("postgres"), autocommit=True)) as connection:
            connection.execute(statement.encode())

    def _url_of(self, database: str) -> str:
        return self._url.set(database=database).render_as_string(hide_password=False)


@contextmanager
def run_server(directory: Path | None = None, **settings: str) -> Iterator[Server]:
    """Run the embedded PostgreSQL, with settings of one's own, until the block ends."""
    with embedded_postgresql(directory, durable=True, settings=SETTINGS | settings) as url:
        yield Server(url)


@contextmanager
def sqlite_database(contender: str) -> Iterator[str]:
    """Yield the URL of a new SQLite file in which the contender is installed."""
    folder = Path(tempfile.mkdtemp(prefix="xclaim-bench-"))
    try:
        url = f"sqlite:///{folder / 'bench.db'}"
        load(contender).install(url)
        yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle(url: str) -> None:
    """Bring a filled database to rest: statistics, no dead rows, nothing left to write."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def unconsumed(contender: str, url: str) -> int:
    """Return how many of the messages that were pushed are not consumed, claimed or not."""
    statement = load(contender).unconsumed
    if not url.startswith("sqlite"):
        # Without it awa's view takes minutes once many jobs have moved from table to table.
        query(url, "ANALYZE")
        return int(str(query(url, statement)[0]))
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return int(connection.execute(statement).fetchone()[0])


def query(url: str, statement: str) -> tuple[object, ...]:
    """Return the first row of a query's result."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        found = connection.execute(statement.encode())
        return (found.description and found.fetchone()) or ()
