"""Push payloads: encoded, checked, and in as few statements as they fit in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.errors import InvalidArgumentError, PayloadError
from xclaim.message import Message, Status, kind_of
from xclaim.payloads.envelope import Prepared
from xclaim.payloads.payloads import Payloads
from xclaim.payloads.plain_json import Encoded, PlainBatch, encode_all, encode_headers
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE, dialect_of
from xclaim.verb import Verb
from xclaim.verbs.execution import Build, as_utc, execute, one_transaction
from xclaim.verbs.hints import is_to_notify, recall
from xclaim.verbs.pushing_once import push_once, row_columns

_MAX_TEXT = 64_000_000  # characters in one statement, a few copies of which the server makes


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
    parameters = _parameters(
        queue, priority=priority, delay=delay, max_attempts=max_attempts, headers=headers
    )
    name = parameters["queue_name"]
    values = listed("payloads", payloads)
    keys = _checked_keys(unique_keys, len(values))
    is_keyed, is_sqlite = any(keys), connection.dialect.name == SQLITE.name
    encoded = encoded_ahead(values, name, keyed=is_keyed, together=not (is_keyed or is_sqlite))
    notifies = notify and not parameters["delay_seconds"] and is_to_notify(connection, schema, name)
    if isinstance(encoded, PlainBatch):
        messages = _push_batch(connection, schema, encoded, parameters, notifies=notifies)
    elif encoded is None and not is_keyed and not is_sqlite:
        messages = _push_plain(connection, schema, values, parameters, notifies=notifies)
    else:
        ready = encoded or encoded_each(values, name)
        push = partial(push_once, keys=keys) if is_keyed else _push_rows
        messages = push(connection, schema, ready, parameters=parameters, notifies=notifies)
    recall(connection, schema, name).forget(above=parameters["message_priority"])
    return messages


def check_push(queue: str, options: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError for what a push would refuse, before anything is stored."""
    names = ("priority", "delay", "max_attempts", "headers")
    _parameters(queue, **{name: options.get(name) for name in names})


def _parameters(
    queue: str,
    *,
    priority: int | None,
    delay: timedelta | None,
    max_attempts: int | None,
    headers: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "queue_name": arguments.pushable(arguments.queue_name(queue)),
        "message_priority": arguments.priority(0 if priority is None else priority),
        "delay_seconds": arguments.optional_seconds("delay", delay) or 0.0,
        "attempts_limit": arguments.optional_max_attempts(max_attempts),
        "message_headers": encode_headers(headers),
    }


def encoded_ahead(
    values: Sequence[Any], queue: str, *, keyed: bool, together: bool
) -> list[Prepared] | PlainBatch | None:
    """Return the payloads encoded if a facade has done so, or the environment asks for it.

    ``together``: where small ones go into one statement as one array.
    """
    if values and isinstance(values[0], PlainBatch):
        return values[0]
    if values and isinstance(values[0], Prepared):
        return list(values)
    settings = Payloads.from_environment()
    if settings is None:
        return None
    batch = settings.plain_batch(values) if together else None
    return batch or settings.prepare(values, queue, keyed=keyed)


def encoded_each(values: Sequence[Any], queue: str) -> list[Prepared]:
    """Return the payloads as they are stored when nothing is set: all in the row."""
    return Payloads().prepare(values, queue)


def _push_plain(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
) -> list[Message]:
    try:
        batch = PlainBatch(encode_all(payloads))
    except PayloadError:  # not all of them are plain JSON
        ready = encoded_each(payloads, parameters["queue_name"])
        return _push_rows(connection, schema, ready, parameters, notifies=notifies)
    return _push_batch(connection, schema, batch, parameters, notifies=notifies)


def _push_batch(
    connection: Connection,
    schema: str | None,
    batch: PlainBatch,
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
) -> list[Message]:
    parts = _in_parts(batch.encoded)
    build = partial(statements.push, notifies=notifies)
    with one_transaction(connection) if len(parts) > 1 else nullcontext():
        return [
            message
            for part in parts
            for message in _push_part(connection, schema, build, part, parameters)
        ]


def _in_parts(encoded: Encoded) -> list[Encoded]:
    # One statement takes a quarter of a gigabyte of JSON. All are encoded before any is pushed.
    payloads = encoded.value
    if len(encoded.text) <= _MAX_TEXT or len(payloads) == 1:
        return [encoded] if payloads else []
    half = len(payloads) // 2
    return [
        part for some in (payloads[:half], payloads[half:]) for part in _in_parts(encode_all(some))
    ]


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
        _pushed(id_, *times, parameters, payload=payload)
        for id_, payload in zip(row.ids, encoded.value, strict=True)
    ]


def _push_rows(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Prepared],
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
) -> list[Message]:
    parts = list(_in_small_parts(payloads))
    with one_transaction(connection) if len(parts) > 1 else nullcontext():
        return [
            message
            for part in parts
            for message in _push_some(connection, schema, part, parameters, notifies=notifies)
        ]


def _in_small_parts(payloads: Sequence[Prepared]) -> Iterator[list[Prepared]]:
    part: list[Prepared] = []
    size = 0
    for each in payloads:
        if part and size + len(each.text) > _MAX_TEXT:
            yield part
            part, size = [], 0
        part.append(each)
        size += len(each.text)
    if part:
        yield part


def _push_some(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Prepared],
    parameters: Mapping[str, Any],
    *,
    notifies: bool,
) -> list[Message]:
    dialect = dialect_of(connection.dialect.name)
    is_encoded = any(each.codec is not None for each in payloads)
    build = partial(statements.push, notifies=notifies, encoded=is_encoded)
    if dialect is SQLITE or is_encoded:
        columns = row_columns(payloads, is_encoded=is_encoded)
        rows = execute(
            connection, schema, build, {**parameters, **dialect.row_parameters(**columns)}
        )
    else:
        text = f"[{','.join(each.text for each in payloads)}]"
        rows = execute(connection, schema, build, {**parameters, "payloads": text})
    if dialect is not SQLITE:
        (row,) = rows
        times = [(id_, as_utc(row.created_at), as_utc(row.available_at)) for id_ in row.ids]
    else:  # RETURNING has no order
        times = sorted((row.id, row.created_at, row.available_at) for row in rows)
    return [
        _pushed(id_, created_at, available_at, parameters, payload=_stored(each), codec=each.codec)
        for (id_, created_at, available_at), each in zip(times, payloads, strict=True)
    ]


def _stored(payload: Prepared) -> Any:
    return payload.value if payload.codec is None else json.loads(payload.text)


def _pushed(
    id_: int,
    created_at: datetime,
    available_at: datetime,
    parameters: Mapping[str, Any],
    *,
    payload: Any,
    codec: str | None = None,
) -> Message:
    headers = parameters["message_headers"]
    return kind_of(codec)(
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
        codec=codec,
    )


def listed(name: str, values: Any) -> list[Any]:
    """Return the values as a list. Raise InvalidArgumentError if they are one value, not many."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidArgumentError(
            f"{name} must be a list, not {type(values).__name__}: push one payload with push()"
        )
    return list(values)


def _checked_keys(unique_keys: Iterable[str | None] | None, count: int) -> list[str | None]:
    if unique_keys is None:
        return [None] * count
    keys = [arguments.optional_key("unique_key", key) for key in listed("unique_keys", unique_keys)]
    if len(keys) != count:
        raise InvalidArgumentError(
            f"{len(keys)} unique_keys for {count} payloads: pass one key, or None, for each"
        )
    return keys


PUSH_MANY = Verb(function=push_many, pushes=True, notifies=True, check=check_push)
