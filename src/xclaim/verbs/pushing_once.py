"""Push payloads once per unique key, and say which keys are taken by another payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace as replace_fields
from datetime import timedelta
from functools import partial
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from xclaim.connections.autocommit import is_autocommit
from xclaim.errors import (
    DuplicateMessageError,
    HiddenRowsError,
    PayloadReadError,
    XclaimError,
)
from xclaim.message import Message
from xclaim.payloads.envelope import Prepared
from xclaim.payloads.plain_json import encode_tagged
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE, dialect_of
from xclaim.sql.schema import UNIQUE_KEY_NAME
from xclaim.verbs import unsendable
from xclaim.verbs.execution import as_message, execute
from xclaim.verbs.ordering import turns_in
from xclaim.verbs.seeing import hides_rows

Item = tuple[Prepared, str | None, str | None]  # a payload, its unique key, its ordering key

_FAIL = "SELECT 1 OPERATOR(pg_catalog./) 0 AS the_batch_was_refused"
_REFUSED = "SQLITE_CONSTRAINT_NOTNULL"  # how the statement refuses another payload on SQLite
_MOST_NAMED = 10  # keys in an error
_MOST_MISSES = 10  # and one for each key, which other sessions may push one after another


def push_once(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Prepared],
    keys: Sequence[str | None],
    lines: Sequence[str | None],
    *,
    parameters: Mapping[str, Any],
    notifies: bool,
    repeated: list[int],
    guarded: bool = False,
) -> list[Message] | None:
    """Push what is not under its key yet; return the messages, in the order of the payloads.

    ``lines`` are the ordering keys. ``repeated`` gets the ids of those that were there already.
    ``guarded``: where a limit is set for the queue nothing is inserted, and if something would have
    to be, return None.

    Raise DuplicateMessageError for keys that are taken by another payload. Two payloads are the
    same by what was encoded, whatever was done to it then: compressed, encrypted, stored elsewhere.
    """
    queue = parameters["queue_name"]
    left = _distinct(queue, payloads, keys, lines)
    rows: list[Any] = []
    as_stored: set[str] = set()  # keys whose payload is sent as it is stored
    misses = 0
    while left:
        found, clashing = _attempt(
            connection, schema, left, parameters, notifies=notifies, guarded=guarded
        )
        if clashing:
            replaced = _as_they_are_stored(connection, schema, queue, left, clashing)
            if replaced is None or not as_stored.isdisjoint(clashing):
                error = _duplicate(connection, schema, queue, left, clashing)
                _undo(connection, rows)
                raise error
            as_stored.update(clashing)
            left = replaced
            continue
        if found is not None:
            rows += found
            seen = {row.unique_key for row in found}
            is_missing = any(key is None or key not in seen for _, key, _ in left)
            if guarded and is_missing and not any(row.is_new for row in found):
                return None
            left = [each for each in left if each[1] is not None and each[1] not in seen]
        guarded = False
        misses += bool(left)  # another session has pushed these keys a moment ago: look again
        if misses > 1 and left:
            _refuse_for_good(
                connection, schema, left, rows, is_tired=misses > _MOST_MISSES + len(keys)
            )
    repeated += [row.id for row in rows if not row.is_new]
    messages = _in_order(rows, keys)
    if not any(lines):
        return messages
    new = [row.id for row in rows if row.is_new]
    turns = turns_in(connection, schema, new, rows)
    delay = timedelta(seconds=parameters["delay_seconds"])
    return [  # as they were inserted, in line; and as some are at the end of the statement
        replace_fields(each, available_at=each.created_at + delay)
        if each.id in turns and each.ordering_key is not None
        else each
        for each in messages
    ]


def count_new(
    connection: Connection, schema: str | None, queue: str, keys: Sequence[str | None]
) -> int:
    """Return how many messages a push with these keys would insert now."""
    named = {key for key in keys if key is not None}
    return len(named - _found(connection, schema, queue, sorted(named)).keys()) + keys.count(None)


def row_columns(payloads: Sequence[Prepared], *, is_encoded: bool) -> dict[str, list[Any]]:
    """Return the payloads as the columns that the statements take."""
    columns: dict[str, list[Any]] = {"payload": [each.text for each in payloads]}
    if is_encoded:
        columns["codec"] = [each.codec for each in payloads]
    return columns


def _attempt(
    connection: Connection,
    schema: str | None,
    items: Sequence[Item],
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
    guarded: bool,
) -> tuple[Sequence[Any] | None, list[str]]:
    """Return the rows, and the keys that are taken by another payload; then nothing was inserted.

    PostgreSQL leaves out what another session pushes at this moment. A batch under autocommit is
    undone by that, and None. In a caller's transaction, which that would end, the others stay.
    """
    run = partial(_run, connection, schema, items, parameters, notifies=notifies, guarded=guarded)
    if connection.dialect.name == SQLITE.name:
        try:
            return run(), []
        except IntegrityError as error:
            if getattr(error.orig, "sqlite_errorname", None) != _REFUSED:
                raise
        # Outside of the error, whose detail shows a payload. None: they were withdrawn meanwhile.
        return None, _clashing_keys(connection, schema, items, parameters)
    whole = len(items) > 1 and is_autocommit(connection)
    try:
        rows = run(whole=whole)
    except IntegrityError as error:
        if not whole or _broken(error) != UNIQUE_KEY_NAME:
            raise
        return None, []
    return rows, sorted(row.unique_key for row in rows if not row.is_same)


def _run(
    connection: Connection,
    schema: str | None,
    items: Sequence[Item],
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
    guarded: bool,
    whole: bool = False,
) -> Sequence[Any]:
    batch, is_encoded = _batch(connection, items, parameters)
    build = partial(
        statements.push_once,
        notifies=notifies,
        encoded=is_encoded,
        whole=whole,
        ordered=any(line for _, _, line in items),
        guarded=guarded,
    )
    return unsendable.push(connection, schema, build, batch)


def _batch(
    connection: Connection, items: Sequence[Item], parameters: Mapping[str, Any]
) -> tuple[dict[str, Any], bool]:
    payloads, keys = [each[0] for each in items], [each[1] for each in items]
    is_encoded = any(each.codec is not None for each in payloads)
    columns = row_columns(payloads, is_encoded=is_encoded)
    lines = [each[2] for each in items]
    if any(lines):
        columns["ordering_key"] = lines
    # In the order of the statement's columns, which on SQLite has no names.
    ordered = {"payload": columns.pop("payload"), "unique_key": keys, **columns}
    rows = dialect_of(connection.dialect.name).row_parameters(**ordered)
    return {**parameters, **rows}, is_encoded


def _broken(error: IntegrityError) -> str | None:
    """Return the name of the constraint or index that PostgreSQL says was violated."""
    name: str | None = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    return name


def _refuse_for_good(
    connection: Connection,
    schema: str | None,
    left: Sequence[Item],
    rows: Sequence[Any],
    *,
    is_tired: bool,
) -> None:
    """Raise for keys that are left out although nobody else has just pushed them."""
    keys = [key for _, key, _ in left if key is not None]
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    named = f"{', '.join(map(repr, keys[:_MOST_NAMED]))}{more}"
    if hides_rows(connection, schema):
        _undo(connection, rows)
        raise HiddenRowsError(
            "row-level security hides from this role a message that was pushed under unique_key "
            f"{named}: nothing was pushed; grant the role what a producer needs with "
            "`xclaim grants`"
        )
    if is_tired:
        _undo(connection, rows)
        raise XclaimError(
            f"the database neither inserts nor finds what is pushed under unique_key {named}: "
            "look for a trigger or a rule on xclaim_message that leaves rows out"
        )


def _undo(connection: Connection, rows: Sequence[Any]) -> None:
    """Let the caller's transaction fail if a part of the batch was pushed in it.

    Any error does that; the server's log has this one.
    """
    if any(row.is_new for row in rows) and not is_autocommit(connection):
        with suppress(DBAPIError):
            connection.exec_driver_sql(_FAIL)


def _clashing_keys(
    connection: Connection,
    schema: str | None,
    items: Sequence[Item],
    parameters: Mapping[str, Any],
) -> list[str]:
    batch, is_encoded = _batch(connection, items, parameters)
    build = partial(statements.clashing_keys, encoded=is_encoded)
    return sorted(row.unique_key for row in execute(connection, schema, build, batch))


def _as_they_are_stored(
    connection: Connection,
    schema: str | None,
    queue: str,
    items: Sequence[Item],
    clashing: Sequence[str],
) -> list[Item] | None:
    # If the stored payload is the same one, encoded differently, push it as it is stored.
    theirs = _found(connection, schema, queue, clashing)
    replaced: list[Item] = []
    for payload, key, line in items:
        message = theirs.get(key or "") if key in clashing else None
        if key not in clashing:
            replaced.append((payload, key, line))
        elif message is None or not _is_same(payload, message):
            return None
        else:
            text = encode_tagged(message.stored).text
            again = replace(payload, text=text, stored=message.stored, codec=message.codec)
            replaced.append((again, key, line))
    return replaced


def _duplicate(
    connection: Connection,
    schema: str | None,
    queue: str,
    items: Sequence[Item],
    clashing: Sequence[str],
) -> DuplicateMessageError:
    """Return the error: their payloads are others, or encrypted with keys that are not here."""
    theirs = _found(connection, schema, queue, clashing)
    not_compared = set()
    for payload, key, _ in items:
        message = theirs.get(key or "")
        with suppress(PayloadReadError):  # what stands there was written by another program
            if message and (unknown := payload.unknown_key(message.stored, message.codec)):
                not_compared.add(f"the key {unknown}")
    return DuplicateMessageError(queue, clashing, not_compared=sorted(not_compared))


def _found(
    connection: Connection, schema: str | None, queue: str, keys: Sequence[str]
) -> dict[str, Message]:
    keyed = dialect_of(connection.dialect.name).row_parameters(unique_key=list(keys))
    parameters = {"queue_name": queue, **keyed}
    rows = unsendable.look(connection, schema, statements.find, parameters)
    return {str(message.unique_key): message for message in map(as_message, rows)}


def _is_same(payload: Prepared, message: Message) -> bool:
    if payload.codec is None and message.codec is None:
        return False  # the database has compared these
    try:
        return payload.is_same_as(message.stored, message.codec)
    except (PayloadReadError, RecursionError):  # what stands there was written by another program
        return False


def _distinct(
    queue: str,
    payloads: Sequence[Prepared],
    keys: Sequence[str | None],
    lines: Sequence[str | None],
) -> list[Item]:
    payload_of: dict[str, Prepared] = {}
    items: list[Item] = []
    clashing = set()
    for payload, key, line in zip(payloads, keys, lines, strict=True):
        if key is None or key not in payload_of:
            items.append((payload, key, line))
        elif payload_of[key].text != payload.text and payload_of[key].digest != payload.digest:
            clashing.add(key)
        if key is not None:
            payload_of.setdefault(key, payload)
    if clashing:
        raise DuplicateMessageError(queue, sorted(clashing))
    return items


def _in_order(rows: Sequence[Any], keys: Sequence[str | None]) -> list[Message]:
    keyed = {row.unique_key: row for row in rows if row.unique_key is not None}
    unkeyed = iter(sorted((row for row in rows if row.unique_key is None), key=lambda row: row.id))
    return [as_message(next(unkeyed) if key is None else keyed[key]) for key in keys]
