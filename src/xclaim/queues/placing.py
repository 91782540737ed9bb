"""From places to the database and schema of one queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL

from xclaim.connections.engine import parse_url, shown_url
from xclaim.errors import Commands, DatabaseUrlError, InvalidArgumentError
from xclaim.places import Place, Places


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What a queue is bound to, and what is said of where that is; nothing where it is plain."""

    bind: Any
    schema: str | None
    commands: Commands | None = None
    whereabouts: str | None = None


def placed(name: str, bind: Any, schema: str | None) -> Placed:
    """Return the database of a queue's place if it is bound to places, else what was given."""
    if not isinstance(bind, Places):
        return Placed(bind=bind, schema=schema)
    if schema is not None:
        raise InvalidArgumentError(
            f"queue {name!r} has the schema of its place, not schema={schema!r}: leave it out"
        )
    place = bind.of(name)
    url = url_of(place)
    return Placed(
        bind=url,
        schema=place.schema,
        commands=bind.commands(place),
        whereabouts=f"xclaim: queue {name!r} is in place {place.name!r}: {_shown(url, place)}",
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
