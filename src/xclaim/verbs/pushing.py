"""Push payloads: encoded, checked, and in as few statements as they fit in."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache, partial
from itertools import pairwise
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.arguments import OnFull, WhenDead
from xclaim.connections.autocommit import one_transaction
from xclaim.connections.encodings import check_holds
from xclaim.errors import InvalidArgumentError
from xclaim.message import Fill, Message, Status, always, message_of
from xclaim.payloads import plain_json
from xclaim.payloads.envelope import Prepared
from xclaim.retry import MAX_ATTEMPTS
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE, dialect_of
from xclaim.verb import Verb
from xclaim.verbs.backlog import Gate
from xclaim.verbs.execution import Build, as_utc, execute
from xclaim.verbs.hints import is_to_notify, recall
from xclaim.verbs.ordering import in_line, turns_in
from xclaim.verbs.pushing_once import count_new, push_once, row_columns

_codec_of, _text_of = attrgetter("codec"), attrgetter("text")
_MAX_TEXT = 64_000_000  # characters in one statement, a few copies of which the server makes


def push_many(
    connection: Connection,
    queue: str,
    payloads: Sequence[Prepared],
    *,
    unique_keys: Iterable[str | None] | None = None,
    priority: int = 0,
    delay: timedelta | None = None,
    max_attempts: int | None = MAX_ATTEMPTS,
    headers: Mapping[str, Any] | None = None,
    ordering_keys: Iterable[str | None] | None = None,
    on_dead: WhenDead = "skip",
    max_backlog: int | None = None,
    on_full: OnFull | None = None,
    notify: bool = False,
    repeated: list[int] | None = None,
    schema: str | None = None,
) -> list[Message]:
    """Push the payloads and return their messages in the same order; on an error none is pushed.

    In one statement, beyond 64 MB of JSON in several of one transaction. ``unique_keys`` has one
    key, or None, for each payload, and so have ``ordering_keys``; ``repeated`` gets the ids of
    messages that were there already under their keys; the other options hold for all. Raise
    QueueFullError if there is no room for what is new.
    """
    parameters = _parameters(
        queue, priority=priority, delay=delay, max_attempts=max_attempts, headers=headers
    )
    name = parameters["queue_name"]
    keys = _checked_keys("unique_keys", unique_keys, len(payloads), arguments.optional_unique_key)
    lines = _checked_keys(
        "ordering_keys", ordering_keys, len(payloads), arguments.optional_ordering_key
    )
    parameters["holds_turn"] = _holds_turn(on_dead)
    check_holds(connection, partial(_named, payloads, keys, lines, parameters))
    notifies = notify and not parameters["delay_seconds"] and is_to_notify(connection, schema, name)
    gate = Gate(connection, schema, name, max_backlog, on_full)
    known = [] if repeated is None else repeated  # what was there is not new, and needs no room

    def push(*, guarded: bool) -> list[Message] | None:
        options: dict[str, Any] = {
            "parameters": parameters,
            "notifies": notifies,
            "guarded": guarded,
        }
        run: Callable[[], list[Message] | None] = (
            partial(
                push_once,
                connection,
                schema,
                payloads,
                keys,
                lines=lines,
                repeated=known,
                **options,
            )
            if any(keys)
            else partial(_push, connection, schema, payloads, lines, **options)
        )
        return in_line(connection, schema, run) if any(lines) else run()

    new = partial(count_new, connection, schema, name, keys) if any(keys) else None
    messages = _within(gate, push, len(payloads), new, known)
    recall(connection, schema, name).forget(above=parameters["message_priority"])
    return messages


def _within(
    gate: Gate,
    push: Callable[..., list[Message] | None],
    count: int,
    new: Callable[[], int] | None,
    known: list[int],
) -> list[Message]:
    """Push as far as there is room, of which the first push of a second finds out if it matters."""
    if gate.is_open():
        pushed = push(guarded=False) or []
        gate.note_pushed(_count_new(pushed, new, known))
        return pushed
    if gate.is_unknown():
        messages = push(guarded=True)
        if messages is not None:
            if _count_new(messages, new, known):
                gate.note_unlimited()
            return messages
    with gate.room(count, new) as note:
        messages = push(guarded=False) or []
        note(_count_new(messages, new, known))
        return messages


def _count_new(messages: list[Message], new: object, known: list[int]) -> int:
    """Return how many messages were not there before; where there are no keys, all."""
    return len(messages) if new is None else len({each.id for each in messages} - {*known})


def check_push(queue: str, options: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError for what a push would refuse, before anything is stored."""
    names = ("priority", "delay", "max_attempts", "headers")
    _parameters(queue, **{name: options.get(name) for name in names})
    arguments.optional_max_backlog(options.get("max_backlog"))
    arguments.optional_on_full(options.get("on_full"))
    _holds_turn(options.get("on_dead", "skip"))


def _parameters(
    queue: str,
    *,
    priority: int | None,
    delay: timedelta | None,
    max_attempts: int | None,
    headers: Mapping[str, Any] | None,
) -> dict[str, Any]:
    said = queue, priority, delay, max_attempts
    try:
        checked = _known_parameters(*said)
    except TypeError:  # of what has no hash, which is refused by its name
        checked = _checked_parameters(*said)
    return {**checked, "message_headers": plain_json.encode_headers(headers)}


def _checked_parameters(
    queue: str, priority: int | None, delay: timedelta | None, max_attempts: int | None
) -> Mapping[str, Any]:
    return {
        "queue_name": arguments.pushable(arguments.queue_name(queue)),
        "message_priority": arguments.priority(0 if priority is None else priority),
        "delay_seconds": arguments.optional_seconds("delay", delay) or 0.0,
        "attempts_limit": arguments.optional_max_attempts(max_attempts),
    }


# A producer says the same each time. By their types, too: as a claimant's are.
_known_parameters = lru_cache(1_000, typed=True)(_checked_parameters)


def _holds_turn(on_dead: Any) -> bool | None:
    return True if arguments.when_dead(on_dead) == "hold" else None


def _named(
    payloads: Sequence[Prepared],
    keys: Sequence[str | None],
    lines: Sequence[str | None],
    parameters: Mapping[str, Any],
) -> dict[str, str]:
    """Return the texts of a push, each by what it is."""
    of_keys = {f"unique_key {key!r}": key for key in keys if key is not None}
    of_keys |= {f"ordering_key {key!r}": key for key in lines if key is not None}
    of_payloads = {f"payload {place}": each.text for place, each in enumerate(payloads)}
    of_all = {
        "the queue's name": parameters["queue_name"],
        "headers": parameters["message_headers"],
    }
    return {**of_all, **of_keys, **of_payloads}


def _push(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Prepared],
    lines: Sequence[str | None],
    *,
    parameters: Mapping[str, Any],
    notifies: bool,
    guarded: bool,
) -> list[Message] | None:
    """Push the payloads; ``guarded``: or nothing, and return None, if the queue has a limit."""
    push = partial(_push_part, connection, schema, parameters=parameters, notifies=notifies)
    parts = _parts(payloads)
    if len(parts) == 1:
        return push(payloads, lines, guarded=guarded)
    messages: list[Message] = []
    with one_transaction(connection):
        for part in parts:
            pushed = push(payloads[part], lines[part], guarded=guarded)
            if pushed is None:
                return None
            messages += pushed
            guarded = False
    return messages


def _parts(payloads: Sequence[Prepared]) -> list[slice]:
    """Return which of the payloads go into one statement each."""
    sizes = [len(each.text) for each in payloads]
    begins = [0]
    if sum(sizes) > _MAX_TEXT:
        size = 0
        for place, length in enumerate(sizes):
            if place > begins[-1] and size + length > _MAX_TEXT:
                begins.append(place)
                size = 0
            size += length
    return [slice(*each) for each in pairwise([*begins, len(sizes)])]


def _push_part(
    connection: Connection,
    schema: str | None,
    payloads: Sequence[Prepared],
    lines: Sequence[str | None],
    *,
    parameters: Mapping[str, Any],
    notifies: bool,
    guarded: bool,
) -> list[Message] | None:
    if not payloads:
        return []
    is_ordered = any(lines)
    is_encoded = any(map(_codec_of, payloads))
    dialect = dialect_of(connection.dialect.name)
    build: Build = partial(
        statements.push,
        notifies=notifies,
        encoded=is_encoded,
        ordered=is_ordered,
        guarded=guarded,
    )
    if is_ordered:
        columns = {**row_columns(payloads, is_encoded=is_encoded), "ordering_key": lines}
        rows = dialect.row_parameters(**columns)
    elif dialect is SQLITE and len(payloads) == 1 and not guarded:
        build = partial(statements.push_one, encoded=is_encoded)
        rows = {"payload_text": payloads[0].text, "payload_codec": payloads[0].codec}
    elif is_encoded:
        rows = dialect.row_parameters(**row_columns(payloads, is_encoded=True))
    else:
        rows = dialect.element_parameters([*map(_text_of, payloads)])
    is_named = dialect is not SQLITE
    pushed = execute(connection, schema, build, {**parameters, **rows}, named=is_named)
    ids, places = _places(connection, pushed)
    if guarded and not ids:
        return None
    if is_ordered:
        turns = turns_in(connection, schema, ids, pushed)
        places = _in_line(ids, places, lines, turns)
    queue, fill = parameters["queue_name"], _fill(parameters)
    return [
        message_of(place, fill, id=id_, queue=queue, stored=each.stored, codec=each.codec)
        for id_, place, each in zip(ids, places, payloads, strict=True)
    ]


class _Place(NamedTuple):
    """What the database says of a payload that it has inserted: times as they are sent."""

    created_at: Any
    available_at: Any
    ordering_key: str | None = None


def _places(connection: Connection, rows: Sequence[Any]) -> tuple[list[int], list[_Place]]:
    """Return the ids and times of what was pushed, in the order of the payloads."""
    if connection.dialect.name == SQLITE.name:  # whose RETURNING has no order
        ids = sorted(map(itemgetter(0), rows))
        times = rows[0][1:] if rows else (None, None)  # those of the statement, the same for all
    else:
        (row,) = rows
        ids, times = list(row.ids or ()), (row.created_at, row.available_at)
    return ids, [_Place(*times)] * len(ids)


def _in_line(
    ids: Sequence[int],
    places: Sequence[_Place],
    lines: Sequence[str | None],
    turns: Container[int],
) -> list[_Place]:
    """Return the places with their keys; those without the turn are not available."""
    return [
        _Place(created_at, available_at if key is None or id_ in turns else None, key)
        for id_, (created_at, available_at, _), key in zip(ids, places, lines, strict=True)
    ]


def _fill(parameters: Mapping[str, Any]) -> Fill:
    """Return how the fields of pushed messages are read that do not stand in each of them."""
    headers = parameters["message_headers"]
    return {
        **_FROM_THE_PLACE,
        "origin_queue": always(parameters["queue_name"]),
        "priority": always(parameters["message_priority"]),
        "headers": lambda _: {} if headers == "{}" else plain_json.decode(headers),  # its own
        "max_attempts": always(parameters["attempts_limit"]),
    }


_EMPTY = (
    "unique_key",
    "claimed_at",
    "claim_expires_at",
    "consumed_at",
    "claimed_by",
    "consumed_by",
    "claim_key",
    "last_error",
    "last_error_class",
)
_FROM_THE_PLACE: Fill = {
    **dict.fromkeys(_EMPTY, always(None)),
    "created_at": lambda place: as_utc(place.created_at),
    "available_at": lambda place: as_utc(place.available_at),
    "ordering_key": lambda place: place.ordering_key,
    "status": always(Status.AVAILABLE),
    "attempts": always(0),
}


def listed(name: str, values: Any) -> list[Any]:
    """Return the values as a list. Raise InvalidArgumentError if they are one value, not many."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        way_out = (
            "push one payload with push()" if name == "payloads" else "pass one for each payload"
        )
        raise InvalidArgumentError(f"{name} must be a list, not {type(values).__name__}: {way_out}")
    return list(values)


def _checked_keys(
    name: str,
    given: Iterable[str | None] | None,
    count: int,
    checked: Callable[[Any], str | None],
) -> list[str | None]:
    if given is None:
        return [None] * count
    keys = [checked(key) for key in listed(name, given)]
    if len(keys) != count:
        raise InvalidArgumentError(
            f"{len(keys)} {name} for {count} payloads: pass one key, or None, for each"
        )
    return keys


PUSH_MANY = Verb(function=push_many, pushes=True, notifies=True, check=check_push)
