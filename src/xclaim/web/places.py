"""Where the queues are: the databases that a dashboard shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from xclaim.observing.observer import TIMEOUT, check_timeout

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xclaim.payloads.payloads import Payloads
    from xclaim.web.access import Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database with queues: an engine, kept for as long as the dashboard runs, and a schema.

    ``payloads``: how payloads are stored there, for what is pushed from the dashboard. ``may_act``
    and ``may_see_payloads`` take away from what the person may it was opened for. ``timeout``: how
    long each look at the database may take, of which a page has some.
    """

    name: str
    engine: Engine
    schema: str | None = None
    payloads: Payloads | None = None
    may_act: bool = True
    may_see_payloads: bool = True
    timeout: timedelta = TIMEOUT

    def __post_init__(self) -> None:
        """Raise InvalidArgumentError for a timeout that is none, before a page has it."""
        check_timeout(self.timeout)


class Places(Protocol):
    """The databases that somebody may look at. Both methods are called in a thread of a pool."""

    def names(self, person: Person) -> list[str]:
        """Return the names of the places that the person may open, the usual one first."""
        ...

    def open(self, name: str, person: Person) -> Place:
        """Return the place; only for one of ``names``. The same engine for the same place."""
        ...


@dataclass(frozen=True, slots=True)
class OnePlace:
    """One database, for everybody who is let in."""

    place: Place

    def names(self, person: Person) -> list[str]:
        """Return its name."""
        return [self.place.name]

    def open(self, name: str, person: Person) -> Place:
        """Return it."""
        return self.place
