"""Which database a command uses, and what its failures mean."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import click

from xclaim.cli.outcomes import DatabaseError, RefusedError, say
from xclaim.errors import Commands, DatabaseUrlError, InvalidArgumentError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.exc import SQLAlchemyError

    from xclaim.payloads.payloads import Payloads
    from xclaim.places import Place, Places
    from xclaim.queues.sync import Queue

DEFAULT_URL = "sqlite:///xclaim.db"
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_OF_ENCODINGS = ("22P05", "22021")  # untranslatable_character, character_not_in_repertoire
_READ_ONLY = "25006"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """What --url, --schema and --quiet chose; None: the environment, then the default.

    ``places`` say by the name of a queue where it is, ``place`` which of them is meant.
    ``payloads``: how payloads are stored, if an Airflow connection says so; ``commands``: how one
    calls our commands on it.
    """

    url: str | None
    schema: str | None
    quiet: bool
    places: Places | None = None
    place: str | None = None
    payloads: Payloads | None = None
    commands: Commands = field(default_factory=Commands)

    def at(self, queue: str) -> Database:
        """Return the database of a queue: of its place, if there are places.

        A queue that is split is in several: see ``places_of``.
        """
        if self.places is None:
            return self
        if self.place is not None:
            if self.places.parts_of(queue):
                raise click.UsageError(
                    f"queue {queue!r} is split: name one of its parts with --place, or leave it out"
                )
            return self
        if self.places.parts_of(queue):
            return self
        return self.within(self.places, self.places.of(queue))

    def parts_of(self, queue: str) -> list[str]:
        """Return the parts of a queue that is split, else the queue alone."""
        return (self.places.parts_of(queue) if self.places is not None else []) or [queue]

    def places_of(self, queue: str) -> list[Database]:
        """Return the databases in which the parts of a queue are, each once."""
        there = [self.at(part) for part in self.parts_of(queue)]
        return list({database.place: database for database in there}.values())

    def has(self, queue: str) -> bool:
        """Return whether the place that is meant has a queue."""
        try:
            return self.places is not None and self.places.of(queue).name == self.place
        except InvalidArgumentError:  # it is in no place, or in several
            return False

    def within(self, places: Places, place: Place) -> Database:
        """Return the database of one of the places."""
        return replace(
            self,
            url=place.url,
            schema=self.schema or place.schema,
            place=place.name,
            commands=places.commands(place),
        )

    @contextmanager
    def engine(self, *, create: bool = False) -> Iterator[Engine]:
        """Yield an engine that has connected once, and say on stderr what to.

        Only ``create`` makes a SQLite file that is not there; other commands fail instead of
        leaving an empty one behind.
        """
        from sqlalchemy.exc import SQLAlchemyError

        engine = _connected(self._place(create=create), self._commands())
        try:
            yield engine
        except SQLAlchemyError as error:
            raise _refusal(error) from error
        finally:
            engine.dispose()

    @contextmanager
    def engine_not_connected(self) -> Iterator[Engine]:
        """Yield an engine that has not connected, for what goes on while the database is down."""
        from xclaim.connections.engine import create_engine

        engine = create_engine(self._place(create=False))
        try:
            yield engine
        finally:
            engine.dispose()

    def _place(self, *, create: bool) -> URL:
        """Return the URL of the database, and say on stderr which one it is."""
        from xclaim.connections.missing_files import is_missing, missing

        if self.places is not None and self.place is None:
            raise click.UsageError(
                f"this is for one place: name it with --place, {' or '.join(self.places.names)}"
            )
        url = self._url()
        if not self.quiet:
            at = "" if self.place is None else f"place: {self.place}, "
            say(f"{at}database: {_shown(url)}")
        if not create and is_missing(url):
            raise missing(url, self._commands())
        return url

    def _url(self) -> URL:
        from xclaim.connections.engine import parse_url

        try:
            return parse_url(self.url or os.environ.get("XCLAIM_DATABASE_URL") or DEFAULT_URL)
        except DatabaseUrlError as error:
            if self.place is None:
                raise
            raise DatabaseUrlError(f"place {self.place!r}: {error}") from None

    def command(self, words: str) -> str:
        """Return a command to be copied, for the same database as this one."""
        return self._commands().command(words, self.schema)

    def about(self, words: str, *arguments: str, option: str = "") -> str:
        """Return a command about a queue to be copied, for the same database as this one."""
        return self._commands().about(words, *arguments, schema=self.schema, option=option)

    def _commands(self) -> Commands:
        """Return how to call a command as this one was: a SQLite file has no secret to show."""
        if self.url is not None and self.url.startswith("sqlite") and not self.commands.place:
            return replace(self.commands, place=f" --url {shlex.quote(self.url)}")
        return self.commands

    @contextmanager
    def queue(self, name: str, *, notify: bool = False) -> Iterator[Queue]:
        """Yield a queue in the database; with ``notify`` it wakes those who wait."""
        if self.places is not None and self.places.parts_of(name):
            with self._split(self.places, name, notify=notify) as queue:
                yield queue
            return
        with self.at(name).queues() as queue_of:
            yield queue_of(name, notify=notify)

    @contextmanager
    def _split(self, places: Places, name: str, *, notify: bool) -> Iterator[Queue]:
        """Yield a queue whose parts are in several places, one of which may be away."""
        from sqlalchemy.exc import SQLAlchemyError

        from xclaim.queues.sync import Queue

        for place in self.places_of(name):
            place._place(create=False)  # noqa: SLF001  (it says where that is)
        try:
            with Queue(name, places, notify=notify, payloads=self.payloads) as queue:
                yield queue
        except SQLAlchemyError as error:
            raise _refusal(error) from error

    @contextmanager
    def queues(self) -> Iterator[Callable[..., Queue]]:
        """Yield a function from a name to the queue, in the database or in its place."""
        from xclaim.queues.sync import Queue

        if self.places is None or self.place is not None:
            with self.engine() as engine:
                yield partial(Queue, bind=engine, schema=self.schema, payloads=self.payloads)
            return
        engines: dict[str | None, Engine] = {}
        with ExitStack() as opened:

            def queue_of(name: str, **options: Any) -> Queue:
                there = self.at(name)
                if there.place not in engines:
                    engines[there.place] = opened.enter_context(there.engine())
                engine = engines[there.place]
                return Queue(name, engine, schema=there.schema, payloads=self.payloads, **options)

            yield queue_of

    def tell_if_unknown(self, queue: str) -> None:
        """Say on stderr that a queue has no message at all, for whoever has mistyped its name.

        Raise HiddenRowsError if that cannot be said, because the role does not see the queue.
        """
        if any(self.at(part)._knows(part) for part in self.parts_of(queue)):  # noqa: SLF001
            return
        if not self.quiet:
            say(
                f"queue {queue!r} is unknown: it has no message, not even a consumed one; "
                f"{self.command('stats')} shows the queues there are"
            )

    def _knows(self, queue: str) -> bool:
        from xclaim.verbs import is_known, refuse_hidden_queue

        with self._another_look() as connection:
            schema = self.resolved_schema(connection.engine)
            if is_known(connection, queue, schema=schema):
                return True
            refuse_hidden_queue(connection, queue, schema=schema)
            return False

    def tell_if_limited(self) -> None:
        """Say on stderr that the role does not see all messages, if that is so."""
        if self.of_what_is_seen():
            say("row-level security hides messages from this role, and they are left out")

    def of_what_is_seen(self) -> str:
        """Return what is to be added to "there is no message", if row-level security hides some."""
        from xclaim.verbs import of_what_is_seen

        with self._another_look() as connection:
            return of_what_is_seen(connection, self.resolved_schema(connection.engine))

    @contextmanager
    def _another_look(self) -> Iterator[Connection]:
        autocommit = {"isolation_level": "AUTOCOMMIT"}
        with (
            replace(self, quiet=True).engine() as engine,
            engine.connect().execution_options(**autocommit) as connection,
        ):
            yield connection

    def resolved_schema(self, engine: Engine) -> str | None:
        """Return the PostgreSQL schema of the table, None for the search path."""
        from xclaim.verbs import resolve_schema

        return resolve_schema(self.schema, engine.dialect.name)


def database_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --url, --schema, --places, --place and --quiet to a command that works on a database.

    All of it runs with numbers as they are stored: payloads are decoded when they are printed.
    """

    @wraps(command)
    def with_exact_numbers(*positional: Any, **options: Any) -> Any:
        from xclaim.payloads.plain_json import exact_numbers

        with exact_numbers():
            return command(*positional, **options)

    return place_options(with_exact_numbers)


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name the database.

    They may stand before the subcommand, and after it.
    """

    @click.option(
        "--url",
        help="Database; else XCLAIM_DATABASE_URL, else the SQLite file xclaim.db in this folder.",
    )
    @click.option("--schema", help="PostgreSQL schema of the table; else XCLAIM_SCHEMA.")
    @click.option(
        "--places", help="TOML file that says which queue is where; else XCLAIM_PLACES, if set."
    )
    @click.option("--place", help="One of the places, for what is about no queue.")
    @click.option("--quiet", is_flag=True, help="Do not say which database is used.")
    @wraps(command)
    def with_database(
        *positional: Any,
        url: str | None,
        schema: str | None,
        places: str | None,
        place: str | None,
        quiet: bool,
        **options: Any,
    ) -> Any:
        before = click.get_current_context().find_object(Database)
        database = before or Database(url=None, schema=None, quiet=False)
        database = replace(
            database, schema=schema or database.schema, quiet=quiet or database.quiet
        )
        database = _located(database, url, places, place)
        queue = options.get("queue_name")
        return command(*positional, database=database.at(queue) if queue else database, **options)

    return with_database


def _located(database: Database, url: str | None, file: str | None, place: str | None) -> Database:
    """Return the database with what was said last: a URL, or places and perhaps one of them."""
    if url is not None:
        if file is not None or place is not None:
            raise click.UsageError("--url and --places or --place exclude each other")
        return replace(database, url=url, places=None, place=None)
    if file is not None and database.url is not None and database.place is None:
        raise click.UsageError("--url and --places exclude each other")
    is_said = database.url is not None or database.places is not None
    path = file or (None if is_said else os.environ.get("XCLAIM_PLACES"))
    if path:
        from xclaim.places import Places

        database = replace(database, url=None, places=Places.from_file(path), place=None)
    if place is None:
        return database
    if database.places is None:
        raise click.UsageError("--place is one of the places: name their file with --places")
    return database.within(database.places, database.places.named(place))


def _connected(url: URL, commands: Commands) -> Engine:
    from sqlalchemy.exc import SQLAlchemyError

    from xclaim.connections.engine import create_engine
    from xclaim.sql.revision import COMMANDS

    engine = create_engine(url, execution_options={COMMANDS: commands})
    try:
        engine.connect().close()  # the pool keeps it, the command will use it
    except (SQLAlchemyError, UnicodeError) as error:  # a host name may be no IDNA
        engine.dispose()
        raise DatabaseError(_unreachable(url, _reason(error), commands)) from error
    return engine


def _refusal(error: SQLAlchemyError) -> click.ClickException:
    """Return what to say of an error of the database: whose fault it is, and the way out."""
    from sqlalchemy.exc import DataError

    reason, cause = _reason(error), getattr(error, "orig", None)
    state = getattr(cause, "sqlstate", None)
    if state in _OF_ENCODINGS:
        return RefusedError(
            f"the database cannot hold a character of what it was given ({reason}), and nothing "
            "was changed: create the database with ENCODING 'UTF8', or leave the character out"
        )
    if isinstance(error, DataError):
        return RefusedError(
            f"the database cannot hold a value that it was given ({reason}), and nothing was "
            "changed: use another value"
        )
    if state == _READ_ONLY:
        return DatabaseError(
            f"the database can only be read ({reason}): connect to the primary, or see who has "
            "set default_transaction_read_only"
        )
    if (getattr(cause, "sqlite_errorname", None) or "").startswith("SQLITE_READONLY"):
        return DatabaseError(
            f"the SQLite file can only be read ({reason}): check the rights of the file and of "
            "its folder"
        )
    # What is noted on it says the way out, and is ours: drivers note nothing.
    remedy = "; ".join(getattr(error, "__notes__", ())) or "see its log, and what its user may do"
    return DatabaseError(f"the database refused ({reason}): {remedy}")


def _unreachable(url: URL, reason: str, commands: Commands) -> str:
    if url.get_backend_name() == "sqlite":
        from xclaim.connections.missing_files import is_missing, missing

        absent = missing(url, commands) if is_missing(url) else None
        if absent and absent.missing_file and not absent.missing_file.parent.is_dir():
            return str(absent)
        return f"cannot open the SQLite file {url.database} ({reason}): check folder and rights"
    host, port = url.host or url.query.get("host") or "localhost", url.port or 5432
    return (
        f"cannot connect to PostgreSQL at {host}:{port} ({reason}): check the URL, and the server "
        f"with `pg_isready -h {host} -p {port}`"
    )


def _shown(url: URL) -> str:
    from xclaim.connections.engine import shown_url

    return shown_url(url.set(drivername=url.get_backend_name()))


def _reason(error: Exception) -> str:
    # Not the error itself: it would show the statement with its payloads.
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
