"""The errors of xclaim.

    XclaimError
    ├── ClaimLostError          the claim is no longer held, nothing was settled for it
    │   ├── TicketLostError     nothing is held for the ticket any more
    │   │   └── TicketLostForGoodError      of xclaim.airflow: the same in a task, which ends
    │   └── ExclusiveValueLostError     of xclaim.airflow.xcom: its message is not to be had
    ├── MessagesFailedError     some messages of a batch failed, and only these
    ├── UnfinishedError         a stream or block was left before it was done with a message
    ├── DuplicateMessageError   the unique_key is taken by a message with another payload
    ├── QueueFullError          as many messages wait as may, nothing was pushed
    ├── OrderingNotEnabledError the database has not what ordering keys need
    ├── SchemaVersionError      the database has no xclaim table, or one of another version
    ├── HiddenRowsError         row-level security hides what has to be seen
    ├── PayloadError            the payload or the headers cannot be stored    (a ValueError)
    ├── PayloadReadError        a stored payload cannot be read as it was pushed
    │   ├── PayloadCorruptedError   it is not what was pushed: size, digest or content
    │   ├── PayloadGoneError        its object is not there any more
    │   ├── PayloadRefusedError     not allowed: outside the storage, too large, a type not allowed
    │   ├── UnknownCodecError       no codec of this name is registered here
    │   └── EncryptionKeyError      the key it was encrypted with is not there
    ├── StorageError            the payload storage cannot be reached, or refuses to read or write
    ├── ObservationTimeoutError     a look at the database took too long and was ended
    ├── NoConnectionError       all connections of the pool are in use
    ├── InvalidArgumentError    an argument is out of its range                (a ValueError)
    │   └── FilterError             a filter of messages cannot be understood
    └── DatabaseUrlError        the database URL cannot be used                (a ValueError)

Errors of the database itself (it is down, a lock timed out) are SQLAlchemy's and pass untouched.
Ours can be pickled and copied, whatever their constructors take: a worker process hands them on.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xclaim.arguments import OnFull
    from xclaim.claims import Claim, Ticket


_MAX_LISTED = 10  # so that a batch of thousands still makes a readable line


class XclaimError(Exception):
    """Anything xclaim itself refuses or reports."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it again: from its text and attributes, without its constructor.

        An exception is made again by calling its class with ``args``, which is the text, while the
        constructors here take the data: it would not unpickle, and break a process pool.
        """
        return _made_again, (type(self), self.args), self.__dict__


class ClaimLostError(XclaimError):
    """The claim is no longer held: acked, released, expired and retaken, or resumed by a retry.

    ``claims`` are the lost ones. Nothing was changed for them; of a batch the others were settled.
    """

    def __init__(self, claims: Sequence[Claim]) -> None:
        self.claims = list(claims)
        shown = _listed([f"{claim.message.id} in {claim.message.queue!r}" for claim in claims])
        super().__init__(
            f"claim lost on message {shown}: it was settled already, its lease ran out and "
            "another claimant took it, or it was claimed from another database; discard the work "
            "or make it idempotent by message.id"
        )


class TicketLostError(ClaimLostError):
    """Nothing is held for the ticket: it was resumed before, or its lease ran out."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.claims = []
        Exception.__init__(
            self,
            f"nothing is held for the ticket of {ticket.claimed_by!r} in {ticket.queue!r}: another "
            "task has resumed it, its messages were settled, or its lease ran out and they went "
            "back to the queue; make a new ticket, with a longer lease if it waited too long",
        )


class MessagesFailedError(XclaimError):
    """Some messages of a batch failed; raised in a block it fails these, and the others are done.

    ``failed`` has the error of each, an exception or a text, by the id of its message.
    """

    def __init__(self, failed: Mapping[int, Any]) -> None:
        if not failed or not isinstance(failed, Mapping):
            what = f"takes a dict, not {type(failed).__name__}" if failed else "of no message"
            raise InvalidArgumentError(f"MessagesFailedError {what}: pass {{message.id: error}}")
        self.failed = {_checked_id(id_): error for id_, error in failed.items()}
        shown = [f"{id_} ({_said(error)})" for id_, error in self.failed.items()]
        super().__init__(f"{len(shown)} failed of the messages: {_listed(shown)}")


class UnfinishedError(XclaimError):
    """A stream or a block was left before it was done with a message: by break, say, or an error.

    Only ever kept as the error of a message: what ended the loop is not known there.
    """

    def __init__(self) -> None:
        super().__init__("the loop was left before it was done with this message")


class DuplicateMessageError(XclaimError):
    """The queue already has a message with this unique key and a different payload.

    Or with one that cannot be compared, because the key that it is encrypted with is not here.
    ``unique_keys`` are the keys that clash. Nothing was pushed, also nothing else of the batch.
    """

    def __init__(
        self, queue: str, unique_keys: Sequence[str], *, not_compared: Sequence[str] = ()
    ) -> None:
        self.queue = queue
        self.unique_keys = list(unique_keys)
        keys = _listed([repr(key) for key in self.unique_keys])
        if not_compared:
            problem = (
                f"queue {queue!r} has a payload under unique_key {keys} that cannot be compared: "
                f"it is encrypted with {_listed(not_compared)}, not among the keys here; nothing "
                "was pushed; give this producer all keys, as XCLAIM_FERNET_KEYS or Payloads(keys=)"
            )
        else:
            problem = (
                f"queue {queue!r} has another payload under unique_key {keys}: nothing was "
                "pushed; push the same payload, choose another key, or prune the consumed message"
            )
        super().__init__(problem)


class QueueFullError(XclaimError):
    """As many messages wait in the queue as its ``max_backlog`` allows; nothing was pushed.

    ``waiting`` is how many there are, counted to one more than ``max_backlog``, with what this
    process has pushed since. ``count`` is how many were to be pushed, and ``on_full`` what the call
    or the queue's setting asks for then: ``raise``, ``wait`` (there was no room in time) or
    ``skip``.
    """

    def __init__(
        self,
        queue: str,
        max_backlog: int,
        waiting: int,
        *,
        count: int = 1,
        on_full: OnFull = "raise",
    ) -> None:
        self.queue = queue
        self.max_backlog = max_backlog
        self.waiting = waiting
        self.count = count
        self.on_full = on_full
        if count > max_backlog:
            problem = (
                f"{count:,} messages never fit into queue {queue!r}, where {max_backlog:,} may "
                "wait: nothing was pushed; push fewer at a time, or let more wait with "
                "Queue.limit_backlog(max_backlog=...)"
            )
        else:
            problem = (
                f"queue {queue!r} is full: {waiting:,} messages wait, max_backlog is "
                f"{max_backlog:,}, and there is no room for {count:,} more; nothing was pushed; "
                "push again when some were claimed, wait for that with on_full='wait', or let more "
                "wait with Queue.limit_backlog(max_backlog=...)"
            )
        super().__init__(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """How the commands of xclaim are called on a database: within Airflow by its connection.

    ``place`` are the options that name the database, ``schema`` is what they say already.
    """

    program: str = "xclaim"
    place: str = ""
    schema: str | None = None

    def command(self, words: str, schema: str | None = None) -> str:
        """Return a command to be copied, for the same database and PostgreSQL schema."""
        option = "" if schema == self.schema else schema_option(schema)
        return f"`{self.program} {words}{self.place}{option}`"

    def about(
        self, words: str, *arguments: str, schema: str | None = None, option: str = ""
    ) -> str:
        """Return a command about a queue, for the same database and PostgreSQL schema."""
        named = "" if schema == self.schema else schema_option(schema)
        option = f"{option}{self.place}{named}"
        return suggested(words, *arguments, option=option, program=self.program)


class SchemaVersionError(XclaimError):
    """The database does not have the schema this xclaim needs.

    ``found`` is its Alembic revision (``None``: no xclaim schema there), ``expected`` ours.
    ``schema`` is the PostgreSQL schema that was looked at, if one is named. ``missing_file`` is the
    SQLite file that is not there: only a migration makes one. ``function`` is the one of xclaim's
    in the database that does not fit the schema, as after another name was given to it.
    """

    def __init__(
        self,
        *,
        found: str | None,
        expected: str,
        newer: bool = False,
        schema: str | None = None,
        missing_file: Path | None = None,
        missing_table: str | None = None,
        function: str | None = None,
        commands: Commands = Commands(),
    ) -> None:
        self.found = found
        self.expected = expected
        self.schema = schema
        self.missing_file = missing_file
        self.function = function
        place = "" if schema is None else f" in {schema!r}"
        upgrade = commands.command("upgrade", schema)
        if missing_file is not None:
            problem = _without_file(missing_file, upgrade)
        elif function is not None:
            enable = commands.command("ordering enable", schema)
            problem = (
                f"the function {function} of the xclaim schema{place} does not fit, as after ALTER "
                f"SCHEMA ... RENAME: run {upgrade}, and {enable} if ordering keys are in use, as "
                "the owner of the table"
            )
        elif found is None:
            problem = f"no xclaim schema in {_where(schema)}: run {upgrade}"
        elif newer:
            problem = (
                f"the xclaim schema{place} is at revision {found}, newer than the {expected} this "
                "xclaim knows: run `pip install --upgrade xclaim`"
            )
        elif found == expected:
            downgrade = commands.command("downgrade base --yes", schema)
            does_not_fit = (
                f"has no table {missing_table}" if missing_table else "its table does not fit"
            )
            problem = (
                f"the xclaim schema{place} is marked {found} but {does_not_fit}: restore "
                f"it, or run {downgrade} and {upgrade} (which drops the messages)"
            )
        else:
            problem = (
                f"the xclaim schema{place} is at revision {found}, this xclaim needs {expected}: "
                f"run {upgrade}"
            )
        super().__init__(problem)


class OrderingNotEnabledError(XclaimError):
    """The database has not what ordering keys need: nothing was pushed."""

    def __init__(self, *, schema: str | None = None, commands: Commands = Commands()) -> None:
        enable = commands.command("ordering enable", schema)
        super().__init__(
            f"ordering keys are not enabled in {_where(schema)}: run {enable} once, as the owner "
            "of the table"
        )


def _where(schema: str | None) -> str:
    return "this database" if schema is None else f"schema {schema!r} of this database"


def _without_file(path: Path, upgrade: str) -> str:
    if path.parent.is_dir():
        return f"there is no SQLite file {path}: run {upgrade}, which makes it"
    nearest = next(parent for parent in path.parents if parent.exists())
    if not nearest.is_dir():
        return f"there is no SQLite file {path}, as {nearest} is no folder: name another file"
    return (
        f"there is no SQLite file {path}, and no folder for it: make that with "
        f"`mkdir -p {shlex.quote(str(path.parent))}`, then run {upgrade}"
    )


class HiddenRowsError(XclaimError):
    """Row-level security hides messages from the role that it has to see; nothing was changed."""


class PayloadError(XclaimError, ValueError):
    """The payload or the headers cannot be stored; the message names the place and the way out."""


class PayloadReadError(XclaimError):
    """A stored payload, or its headers, cannot be read. The message is neither lost nor consumed.

    ``message_id`` is the message's, as far as it is known where the error was raised.
    ``is_for_good``: what stands in the row is no JSON that Python could read, so that no other
    attempt, worker or version would read it; a message that fails with it is a dead letter at once.
    """

    message_id: int | None = None
    is_for_good: bool = False


class PayloadCorruptedError(PayloadReadError):
    """What is stored is not what was pushed: cut off, swapped, changed, or not to be decoded."""


class PayloadGoneError(PayloadReadError):
    """The storage answers, and has no object for the payload."""


class PayloadRefusedError(PayloadReadError):
    """The payload is not read: it lies elsewhere, is too large, or names a type not allowed."""


class UnknownCodecError(PayloadReadError):
    """The payload was encoded by a codec that is not registered in this process."""


class EncryptionKeyError(PayloadReadError):
    """The payload is encrypted, and the key that it was encrypted with is not among the keys."""


class StorageError(XclaimError):
    """The payload storage cannot be reached, or refuses: no bucket, no permission, no space."""


class InvalidArgumentError(XclaimError, ValueError):
    """An argument has the wrong type or is out of range; the message names it and the way out."""


class FilterError(InvalidArgumentError):
    """A filter of messages cannot be understood. ``position``: at which character, the first is 0.

    The text says what is wrong there and what to write instead.
    """

    def __init__(self, problem: str, position: int) -> None:
        self.position = position
        super().__init__(problem)


class ObservationTimeoutError(XclaimError):
    """A look at the database took longer than it may, and was ended. Nothing was changed.

    ``question`` is what was asked for, ``seconds`` what it had; ``is_locked``: it waited for
    somebody who has locked the table or the file. ``what_happened`` is the text without the way
    out, for those who know a better one.
    """

    def __init__(self, question: str, seconds: float, *, is_locked: bool = False) -> None:
        self.question = question
        self.seconds = seconds
        self.is_locked = is_locked
        self.what_happened = (
            f"the database did not say {question} within {seconds:g} seconds, and the look was "
            "ended"
        )
        if is_locked:
            way_out = "somebody has locked the table or the file: find out who, and ask again"
        else:
            way_out = (
                "ask for less, ask again when the database has less to do, or give it more time "
                "(timeout= in Python, --timeout of `xclaim dashboard` and `xclaim metrics`)"
            )
        super().__init__(f"{self.what_happened}: {way_out}")


class NoConnectionError(XclaimError):
    """All connections that the pool may have were in use, and none came free in time.

    ``places`` is how many it may have, ``seconds`` how long was waited. Nothing was sent to the
    database. It is SQLAlchemy's ``TimeoutError`` as well. Engines that are not of
    ``xclaim.create_engine`` or a URL raise that alone.
    """

    def __init__(self, places: int, seconds: float) -> None:
        self.places = places
        self.seconds = seconds
        super().__init__(
            f"all {places} connections of this pool were in use for {seconds:g} s: let fewer "
            "threads and tasks of this process work at a time, or give it more places, by "
            "pool_size=200 in the query of the database URL or as an option of create_engine, as "
            "far as the server allows more connections"
        )


class DatabaseUrlError(XclaimError, ValueError):
    """The database URL is malformed or names a database or driver xclaim does not use."""


def schema_option(schema: str | None) -> str:
    """Return what a command of a remedy ends with, so that it means the same PostgreSQL schema."""
    return "" if schema is None else f" --schema {shlex.quote(schema)}"


def suggested(command: str, *arguments: str, option: str = "", program: str = "xclaim") -> str:
    """Return a command to be copied, also for a queue whose name begins with a dash."""
    quoted = " ".join(map(shlex.quote, arguments))
    if any(argument.startswith("-") for argument in arguments):
        return f"`{program} {command}{option} -- {quoted}`"
    return f"`{program} {command} {quoted}{option}`"


def _made_again(kind: type[XclaimError], args: tuple[Any, ...]) -> XclaimError:
    return kind.__new__(kind, *args)


def _checked_id(id_: Any) -> int:
    if not isinstance(id_, int) or isinstance(id_, bool):
        raise InvalidArgumentError(
            f"MessagesFailedError takes the ids of messages, not {id_!r:.100}: pass "
            "{message.id: error}"
        )
    return id_


def _said(error: Any) -> str:
    from xclaim.arguments import visible  # which imports this module

    try:
        text = visible(f"{error!s:.200}")
    except Exception as raised:  # noqa: BLE001  (of its own __str__)
        text = f"<its text cannot be had: {type(raised).__name__}>"
    return f"{type(error).__name__}: {text}" if isinstance(error, BaseException) else text


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
