"""Push payloads: plainly, or once per unique key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from xclaim import arguments, statements
from xclaim.dialects import SQLITE, dialect_of
from xclaim.errors import DuplicateMessageError, InvalidArgumentError
from xclaim.message import Message, Status
from xclaim.payloads.plain import Encoded, encode, encode_all, encode_headers, name_of
from xclaim.verbs.memory import is_to_notify, recall
from xclaim.verbs.rows import Build, as_message, as_utc, execute, is_autocommit, one_transaction

_MAX_TEXT = 64_000_000  # characters in one statement, a few copies of which the server makes


def push(
    connection: Connection,
    queue: str,
    payload: Any,
    *,
    unique_key: str | None = None,
    priority: int = 0,
    delay: timedelta | None = None,
    max_attempts: int | None = None,
    headers: Mapping[str, Any] | None = None,
    notify: bool = False,
    schema: str | None = None,
) -> Message:
    """Push one payload and return its message.

    With a ``unique_key`` that the queue has already, the existing message is returned, whatever
    its status, and nothing is pushed. Raise DuplicateMessageError if its payload differs,
    PayloadError if the payload is not JSON, InvalidArgumentError if an option is out of range.
    ``notify``: wake those who wait for the queue (PostgreSQL).
    """
    return push_many(
        connection,
        queue,
        [payload],
        unique_keys=[unique_key],
        priority=priority,
        delay=delay,
        max_attempts=max_attempts,
        headers=headers,
        notify=notify,
        schema=schema,
    )[0]


def push_many(
    connection: Connection,
    queue: str,
    payloads: Iterable[Any],
    *,
    unique_keys: Iterable[str | None] | None = None,
    priority: int = 0,
    delay: timedelta | None = None,
    max_attempts: int | None = None,
    headers: Mapping[str, Any] | None = None,
    notify: bool = False,
    schema: str | None = None,
) -> list[Message]:
    """Push the payloads and return their messages in the same order; on an error none is pushed.

    In one statement, beyond 64 MB of JSON in several of one transaction. ``unique_keys`` has one
    key, or None, for each payload; the other options hold for all.
    """
    name = arguments.pushable(arguments.queue_name(queue))
    parameters: dict[str, Any] = {
        "queue_name": name,
        "message_priority": arguments.priority(priority),
        "delay_seconds": arguments.optional_seconds("delay", delay) or 0.0,
        "attempts_limit": arguments.optional_max_attempts(max_attempts),
        "message_headers": encode_headers(headers),
    }
    listed = _listed("payloads", payloads)
    keys = _checked_keys(unique_keys, len(listed))
    notifies = notify and not parameters["delay_seconds"] and is_to_notify(connection, schema, name)
    if any(keys):
        messages = _push_once(connection, schema, listed, keys, parameters, notifies=notifies)
    else:
        push = _push_rows if connection.dialect.name == SQLITE.name else _push
        messages = push(connection, schema, listed, parameters, notifies=notifies)
    recall(connection, schema, name).forget(above=parameters["message_priority"])
    return messages


def _push(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
) -> list[Message]:
    parts = _in_parts(payloads)
    build = partial(statements.push, notifies=notifies)
    with one_transaction(connection) if len(parts) > 1 else nullcontext():
        return [
            message
            for part in parts
            for message in _push_part(connection, schema, build, part, parameters)
        ]


def _in_parts(payloads: Sequence[Any], first: int = 0) -> list[Encoded]:
    # One statement takes a quarter of a gigabyte of JSON. All are encoded before any is pushed.
    encoded = encode_all(payloads, first)
    if len(encoded.text) <= _MAX_TEXT or len(payloads) == 1:
        return [encoded] if payloads else []
    half = len(payloads) // 2
    return [*_in_parts(payloads[:half], first), *_in_parts(payloads[half:], first + half)]


def _push_part(
    connection: Connection,
    schema: str | None,
    build: Build,
    encoded: Encoded,
    parameters: Mapping[str, Any],
) -> list[Message]:
    (row,) = execute(connection, schema, build, {**parameters, "payloads": encoded.text})
    times = as_utc(row.created_at), as_utc(row.available_at)
    return [
        _pushed(id_, payload, *times, parameters)
        for id_, payload in zip(row.ids, encoded.value, strict=True)
    ]


def _push_rows(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
) -> list[Message]:
    encoded = _encode_each(payloads)
    if not encoded:
        return []
    texts = SQLITE.row_parameters(payload=[each.text for each in encoded])
    build = partial(statements.push, notifies=notifies)
    rows = sorted(execute(connection, schema, build, {**parameters, **texts}), key=_id)
    return [
        _pushed(row.id, each.value, row.created_at, row.available_at, parameters)
        for row, each in zip(rows, encoded, strict=True)  # RETURNING has no order
    ]


def _encode_each(payloads: Sequence[Any]) -> list[Encoded]:
    return [encode(payload, name_of(index)) for index, payload in enumerate(payloads)]


def _id(row: Any) -> int:
    return row.id  # type: ignore[no-any-return]


def _pushed(
    id_: int,
    payload: Any,
    created_at: datetime,
    available_at: datetime,
    parameters: Mapping[str, Any],
) -> Message:
    headers = parameters["message_headers"]
    return Message(
        id=id_,
        queue=parameters["queue_name"],
        origin_queue=parameters["queue_name"],
        status=Status.AVAILABLE,
        priority=parameters["message_priority"],
        payload=payload,
        headers={} if headers == "{}" else json.loads(headers),
        unique_key=None,
        attempts=0,
        max_attempts=parameters["attempts_limit"],
        created_at=created_at,
        available_at=available_at,
        claimed_at=None,
        claim_expires_at=None,
        consumed_at=None,
        claimed_by=None,
        consumed_by=None,
        claim_key=None,
        last_error=None,
    )


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidArgumentError(
            f"{name} must be a list, not {type(values).__name__}: push one payload with push()"
        )
    return list(values)


def _checked_keys(unique_keys: Iterable[str | None] | None, count: int) -> list[str | None]:
    if unique_keys is None:
        return [None] * count
    keys = [
        arguments.optional_key("unique_key", key) for key in _listed("unique_keys", unique_keys)
    ]
    if len(keys) != count:
        raise InvalidArgumentError(
            f"{len(keys)} unique_keys for {count} payloads: pass one key, or None, for each"
        )
    return keys


def _distinct(
    queue: str, encoded: Sequence[str], keys: Sequence[str | None]
) -> list[tuple[str, str | None]]:
    payload_of: dict[str, str] = {}
    items: list[tuple[str, str | None]] = []
    clashing = set()
    for payload, key in zip(encoded, keys, strict=True):
        if key is None or key not in payload_of:
            items.append((payload, key))
        elif payload_of[key] != payload:
            clashing.add(key)
        if key is not None:
            payload_of.setdefault(key, payload)
    if clashing:
        raise DuplicateMessageError(queue, sorted(clashing))
    return items


def _push_once(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Any],
    keys: Sequence[str | None],
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
) -> list[Message]:
    texts = [each.text for each in _encode_each(payloads)]
    items = _distinct(parameters["queue_name"], texts, keys)
    batch = dict(parameters) | dialect_of(connection.dialect.name).row_parameters(
        payload=[payload for payload, _ in items], unique_key=[key for _, key in items]
    )
    queue = batch["queue_name"]
    try:
        rows = execute(connection, schema, partial(statements.push_once, notifies=notifies), batch)
    except IntegrityError:
        clashing = _clashing_keys(connection, schema, batch)
        # Not `from` the database's error, whose detail shows the payload that is there.
        raise DuplicateMessageError(queue, clashing or sorted(filter(None, keys))) from None
    clashing = sorted(row.unique_key for row in rows if not row.is_same)
    if clashing:
        raise DuplicateMessageError(queue, clashing)
    return _in_order(rows, keys)


def _in_order(rows: Sequence[Any], keys: Sequence[str | None]) -> list[Message]:
    keyed = {row.unique_key: row for row in rows if row.unique_key is not None}
    unkeyed = iter(sorted((row for row in rows if row.unique_key is None), key=lambda row: row.id))
    return [as_message(next(unkeyed) if key is None else keyed[key]) for key in keys]


def _clashing_keys(
    connection: Connection, schema: str | None, batch: Mapping[str, Any]
) -> list[str]:
    # Another session pushed the key a moment ago. In a caller's PostgreSQL transaction, which the
    # failed statement aborted, it cannot be asked which: then all keys of the batch are named.
    if connection.dialect.name != SQLITE.name and not is_autocommit(connection):
        return []
    rows = execute(connection, schema, statements.clashing_keys, batch)
    return sorted(row.unique_key for row in rows)
