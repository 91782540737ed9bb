"""From places to the database and schema of a queue, or of each part of one that is split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import URL

from xclaim.connections.concurrency import Concurrency
from xclaim.connections.engine import parse_url, shown_url
from xclaim.errors import Commands, DatabaseUrlError, InvalidArgumentError
from xclaim.places import Place, Places
from xclaim.queues.bound_queue import Bind, BoundQueue
from xclaim.queues.split_queue import SplitQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What a queue is bound to, and what is said of where that is; nothing where it is plain."""

    bind: Any
    schema: str | None
    commands: Commands | None = None
    whereabouts: str | None = None
    place: str = ""
    parts: Sequence[str] = ()  # of a queue that is split, those that are here


@dataclass(frozen=True, slots=True)
class Split:
    """The places of a queue that is split, with its parts in the order of their numbers."""

    parts: Sequence[str]
    places: Sequence[Placed]


def bind_queue(
    name: str,
    bind: Any,
    schema: str | None,
    open_: Callable[[Placed], Bind],
    concurrency: Concurrency,
    *,
    holds_connections: bool,
    **options: Any,
) -> BoundQueue:
    """Return the queue on what it is bound to, or in its place or places.

    ``open_`` opens what a place has; an engine that it makes of a URL is closed with the queue, and
    ``holds_connections`` is for such.
    """

    def bound(name: str, where: Placed) -> BoundQueue:
        owned = isinstance(where.bind, str | URL)
        return BoundQueue(
            name,
            open_(where),
            concurrency,
            owned=owned,
            holds_connections=owned and holds_connections,
            schema=where.schema,
            whereabouts=where.whereabouts,
            **options,
        )

    where = placed(name, bind, schema)
    if isinstance(where, Placed):
        return bound(name, where)
    places = [(each.parts, each.place, bound(each.parts[0], each)) for each in where.places]
    return SplitQueue(name, where.parts, places)


def placed(name: str, bind: Any, schema: str | None) -> Placed | Split:
    """Return the database of a queue's place if it is bound to places, else what was given."""
    if isinstance(bind, Placed | Split):  # of the hook, whose places are connections of Airflow
        return bind
    if not isinstance(bind, Places):
        return Placed(bind=bind, schema=schema)
    if schema is not None:
        raise InvalidArgumentError(
            f"queue {name!r} has the schema of its place, not schema={schema!r}: leave it out"
        )
    parts = bind.parts_of(name)
    if not parts:
        return _placed(name, bind, bind.of(name))
    by_place: dict[Place, list[str]] = {}
    for part in parts:
        by_place.setdefault(bind.of(part), []).append(part)
    places = [
        replace(_placed(", ".join(names), bind, place), parts=names)
        for place, names in by_place.items()
    ]
    return Split(parts, places)


def _placed(name: str, places: Places, place: Place) -> Placed:
    url = url_of(place)
    return Placed(
        bind=url,
        schema=place.schema,
        commands=places.commands(place),
        whereabouts=f"xclaim: queue {name!r} is in place {place.name!r}: {_shown(url, place)}",
        place=place.name,
    )


def url_of(place: Place) -> URL:
    """Return the URL of a place. Raise DatabaseUrlError, which names the place, for a wrong one."""
    try:
        return parse_url(place.url)
    except DatabaseUrlError as error:
        raise DatabaseUrlError(f"place {place.name!r}: {error}") from None


def _shown(url: URL, place: Place) -> str:
    shown = shown_url(url.set(drivername=url.get_backend_name()))
    return shown if place.schema is None else f"{shown}, schema {place.schema!r}"
