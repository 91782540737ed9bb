"""Push payloads once per unique key, and say which keys are taken by another payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from xclaim.errors import DuplicateMessageError
from xclaim.message import Message
from xclaim.payloads.envelope import Prepared
from xclaim.payloads.plain_json import encode
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE, dialect_of
from xclaim.verbs.execution import as_message, execute, is_autocommit

Item = tuple[Prepared, str | None]


def push_once(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Prepared],
    keys: Sequence[str | None],
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
    repeated: list[int] | None = None,
) -> list[Message]:
    """Push what is not under its key yet; return the messages, in the order of the payloads.

    ``repeated`` gets the ids of those that were there already.

    Raise DuplicateMessageError for keys that are taken by another payload. Two payloads are the
    same by what was encoded, whatever was done to it then: compressed, encrypted, stored elsewhere.
    """
    queue = parameters["queue_name"]
    items = _distinct(queue, payloads, keys)
    push = partial(_push, connection, schema, parameters=parameters, notifies=notifies)
    rows, clashing = push(items)
    if clashing:
        as_stored = _as_they_are_stored(connection, schema, queue, items, clashing)
        if as_stored is None:
            raise DuplicateMessageError(queue, clashing)
        rows, clashing = push(as_stored)
        if clashing:
            raise DuplicateMessageError(queue, clashing)
    if repeated is not None:
        repeated += [row.id for row in rows if not row.is_new]
    return _in_order(rows, keys)


def row_columns(payloads: Sequence[Prepared], *, is_encoded: bool) -> dict[str, list[Any]]:
    """Return the payloads as the columns that the statements take."""
    columns: dict[str, list[Any]] = {"payload": [each.text for each in payloads]}
    if is_encoded:
        columns["codec"] = [each.codec for each in payloads]
    return columns


def _push(
    connection: Connection,
    schema: str | None,
    items: Sequence[Item],
    *,
    parameters: Mapping[str, Any],
    notifies: bool,
) -> tuple[Sequence[Any], list[str]]:
    payloads, keys = [payload for payload, _ in items], [key for _, key in items]
    is_encoded = any(each.codec is not None for each in payloads)
    columns = row_columns(payloads, is_encoded=is_encoded)
    # In the order of the statement's columns, which on SQLite has no names.
    ordered = {"payload": columns.pop("payload"), "unique_key": keys, **columns}
    batch = {**parameters, **dialect_of(connection.dialect.name).row_parameters(**ordered)}
    build = partial(statements.push_once, notifies=notifies, encoded=is_encoded)
    try:
        rows = execute(connection, schema, build, batch)
    except IntegrityError:
        return [], _clashing_keys(
            connection, schema, batch, sorted(filter(None, keys)), is_encoded=is_encoded
        )
    return rows, sorted(row.unique_key for row in rows if not row.is_same)


def _clashing_keys(
    connection: Connection,
    schema: str | None,
    batch: Mapping[str, Any],
    keys: Sequence[str],
    *,
    is_encoded: bool,
) -> list[str]:
    # Another session pushed the key a moment ago. In a caller's PostgreSQL transaction, which the
    # failed statement aborted, it cannot be asked which: then all keys of the batch are named.
    if connection.dialect.name == SQLITE.name or is_autocommit(connection):
        build = partial(statements.clashing_keys, encoded=is_encoded)
        rows = execute(connection, schema, build, batch)
        if rows:
            return sorted(row.unique_key for row in rows)
    # Not `from` the database's error, whose detail shows the payload that is there.
    raise DuplicateMessageError(batch["queue_name"], keys) from None


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
    for payload, key in items:
        message = theirs.get(key or "") if key in clashing else None
        if key not in clashing:
            replaced.append((payload, key))
        elif message is None or not _is_same(payload, message):
            return None
        else:
            text = encode(message.stored).text
            again = replace(payload, text=text, stored=message.stored, codec=message.codec)
            replaced.append((again, key))
    return replaced


def _found(
    connection: Connection, schema: str | None, queue: str, keys: Sequence[str]
) -> dict[str, Message]:
    keyed = dialect_of(connection.dialect.name).row_parameters(unique_key=list(keys))
    rows = execute(connection, schema, statements.find, {"queue_name": queue, **keyed})
    return {str(message.unique_key): message for message in map(as_message, rows)}


def _is_same(payload: Prepared, message: Message) -> bool:
    if payload.codec is None and message.codec is None:
        return False  # the database has compared these
    return payload.is_same_as(message.stored, message.codec)


def _distinct(queue: str, payloads: Sequence[Prepared], keys: Sequence[str | None]) -> list[Item]:
    payload_of: dict[str, Prepared] = {}
    items: list[Item] = []
    clashing = set()
    for payload, key in zip(payloads, keys, strict=True):
        if key is None or key not in payload_of:
            items.append((payload, key))
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
