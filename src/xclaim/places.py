"""Where queues are: patterns of their names, each with a database and a schema.

    # places.toml: the first place with a pattern that fits has the queue
    [north]
    queues = ["orders", "orders.*"]
    url = "postgresql://north.example/shop"

    [rest]
    queues = ["*"]
    url_variable = "REST_DATABASE_URL"  # of the environment, so that no secret stands in the file
    schema = "q2"

    [parts]
    orders = 4  # one queue in four parts, orders.0 to orders.3, each where its name says

A queue, or a part of one, never leaves its place, and its dead letters stay with it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from xclaim import arguments
from xclaim.errors import Commands, InvalidArgumentError

VARIABLE = "XCLAIM_PLACES"
_FIELDS = ("queues", "url", "url_variable", "schema")
_PARTS = "parts"  # of a file: what no place is called
_MOST_PARTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database, the PostgreSQL schema in it, and the queues that are there.

    ``queues`` are patterns: ``*`` stands for anything, ``?`` for one character, ``[0-7]`` for one
    of them (Python's ``fnmatch``, with case). ``schema`` None: as ``XCLAIM_SCHEMA`` says, or the
    connection's search path. Raise InvalidArgumentError for what cannot be one.
    """

    name: str
    queues: Sequence[str]
    url: str = field(repr=False)  # it may have a password
    schema: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        _check_text("the name of a place", self.name)
        _check_text(f"the url of place {self.name!r}", self.url, is_secret=True)
        if self.schema is not None:
            _check_text(f"the schema of place {self.name!r}", self.schema)
        if not _are_patterns(self.queues):
            raise InvalidArgumentError(
                f"the queues of place {self.name!r} must be patterns: "
                'write queues = ["orders", "orders.*"]'
            )
        for pattern in self.queues:
            if pattern.endswith(arguments.DEAD_LETTER_SUFFIX):
                raise InvalidArgumentError(
                    f"the pattern {pattern!r} of place {self.name!r} would never fit: dead letters "
                    "are in the place of their queue, so leave it out"
                )
        object.__setattr__(self, "queues", tuple(self.queues))

    def has(self, queue: str) -> bool:
        """Return whether one of the patterns fits the queue."""
        return any(fits(queue, pattern) for pattern in self.queues)


def fits(queue: str, pattern: str) -> bool:
    """Return whether a pattern fits the name of the queue, or of the one its letters are of."""
    name = queue.removesuffix(arguments.DEAD_LETTER_SUFFIX) or queue
    return fnmatchcase(name, pattern)


def part_of(key: str, count: int) -> int:
    """Return in which of so many parts of a queue a key is: SHA-256 of its UTF-8, modulo ``count``.

    As other programs can count it. While ``count`` stays a key is in one part, and so unique.
    """
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest) % count


def _listed(places: Any) -> tuple[Place, ...]:
    remedy = 'pass [Place(name="here", queues=["*"], url=...)]'
    if not isinstance(places, Iterable):
        raise InvalidArgumentError(
            f"places must be a list of Place, not {type(places).__name__}: {remedy}"
        )
    listed = tuple(places)
    for place in listed:
        if not isinstance(place, Place):
            raise InvalidArgumentError(
                f"places must be a list of Place, not of {type(place).__name__}: {remedy}"
            )
    return listed


def _check_text(what: str, value: object, *, is_secret: bool = False) -> None:
    if not isinstance(value, str) or not value.strip():
        shown = type(value).__name__ if is_secret else repr(value)
        raise InvalidArgumentError(f"{what} must be text that is not blank, not {shown}")


class Places:
    """The places in their order: the first with a pattern that fits has the queue.

    ``parts``: of how many parts a queue is, by its name. Those of ``orders`` are ``orders.0`` and
    so on, each of them in the place that fits its name, and together one queue. ``path``: of the
    file that says so, for the commands that errors name. Raise InvalidArgumentError for two places
    of one name, none at all, and a number of parts that cannot be one.
    """

    def __init__(
        self,
        places: Iterable[Place],
        *,
        parts: Mapping[str, int] | None = None,
        path: str | None = None,
    ) -> None:
        self._places = _listed(places)
        self._parts = checked_parts(parts)
        self._path = path
        names = [place.name for place in self._places]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names or twice:
            what = f"{', '.join(twice)} twice" if twice else "none"
            raise InvalidArgumentError(f"places need names of their own, and there is {what}")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Places:
        """Return what a TOML file says. Raise InvalidArgumentError naming what it says wrongly."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # no UTF-8, or a NUL in the path
            raise InvalidArgumentError(f"the places cannot be read from {path}: {error}") from None
        try:
            said = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InvalidArgumentError(f"{path} is no TOML: {error}") from None
        parts = said.pop(_PARTS, None)
        places = [_place(str(path), name, fields) for name, fields in said.items()]
        return cls(places, parts=parts, path=str(path))

    @classmethod
    def from_environment(cls) -> Places | None:
        """Return what the file says that ``XCLAIM_PLACES`` names; None if that is not set."""
        path = os.environ.get(VARIABLE)
        return cls.from_file(path) if path else None

    @property
    def names(self) -> list[str]:
        """The names, in their order."""
        return [place.name for place in self._places]

    def parts_of(self, queue: str) -> list[str]:
        """Return the parts of a queue, or of its dead-letter queue; ``[]`` if it is not split."""
        return parts_of(self._parts, queue)

    def of(self, queue: str) -> Place:
        """Return the place of a queue. Raise InvalidArgumentError if no pattern fits.

        And for a queue that is split: it is where its parts are.
        """
        name = arguments.queue_name(queue)
        if parts := self.parts_of(name):
            raise InvalidArgumentError(
                f"queue {name!r} is split into {len(parts)} parts, each in a place of its own: "
                f"name one of them, {parts[0]!r} say"
            )
        for place in self._places:
            if place.has(name):
                return place
        raise InvalidArgumentError(
            f"queue {name!r} is in no place, there are {', '.join(self.names)}: give one of them a "
            'pattern that fits, or the last one queues = ["*"]'
        )

    def named(self, name: str) -> Place:
        """Return the place with this name. Raise InvalidArgumentError if there is none."""
        for place in self._places:
            if place.name == name:
                return place
        raise InvalidArgumentError(f"there is no place {name!r}, only {', '.join(self.names)}")

    def commands(self, place: Place) -> Commands:
        """Return how our commands are called on a place."""
        if self._path is None:
            return Commands()
        is_exported = os.environ.get(VARIABLE) == self._path
        file = "" if is_exported else f" --places {shlex.quote(self._path)}"
        options = f"{file} --place {shlex.quote(place.name)}"
        return Commands(place=options, schema=place.schema)

    def __iter__(self) -> Iterator[Place]:
        """Return the places in their order."""
        return iter(self._places)

    def __repr__(self) -> str:
        """Return the names and patterns."""
        return f"Places({list(self._places)!r})"


def checked_parts(parts: object) -> dict[str, int]:
    """Return the numbers of parts by the names of queues. Raise InvalidArgumentError for others."""
    if parts is None:
        return {}
    if not isinstance(parts, Mapping):
        raise InvalidArgumentError(f"parts must be numbers by names of queues, not {parts!r}")
    for queue, count in parts.items():
        name = arguments.queue_name(queue)
        if name.endswith(arguments.DEAD_LETTER_SUFFIX):
            raise InvalidArgumentError(f"{name!r} has the parts of its queue: leave it out")
        if type(count) is not int or not 1 <= count <= _MOST_PARTS:
            raise InvalidArgumentError(
                f"queue {name!r} can have 1 to {_MOST_PARTS} parts, not {count!r}"
            )
    return dict(parts)


def parts_of(parts: Mapping[str, int], queue: str) -> list[str]:
    """Return the names of the parts of a queue, or of its dead-letter queue; ``[]`` without any."""
    name = queue.removesuffix(arguments.DEAD_LETTER_SUFFIX)
    suffix = queue[len(name) :]
    return [f"{name}.{number}{suffix}" for number in range(parts.get(name, 0))]


def _place(path: str, name: str, fields: Any) -> Place:
    if not isinstance(fields, Mapping):
        raise InvalidArgumentError(
            f"{path} has {name!r} outside of a place: write [name] before it"
        )
    unknown = sorted(set(fields) - set(_FIELDS))
    if unknown:
        raise InvalidArgumentError(
            f"place {name!r} in {path} has {', '.join(unknown)}: it may have {', '.join(_FIELDS)}"
        )
    if ("url" in fields) == ("url_variable" in fields):
        raise InvalidArgumentError(
            f"place {name!r} in {path} needs a url, or a url_variable that has it: one of them"
        )
    return Place(
        name=name,
        queues=fields.get("queues", ()),
        url=fields["url"] if "url" in fields else _exported(path, name, fields["url_variable"]),
        schema=fields.get("schema"),
    )


def _exported(path: str, name: str, variable: Any) -> str:
    url = os.environ.get(variable) if isinstance(variable, str) and variable else None
    if not url:
        raise InvalidArgumentError(
            f"place {name!r} in {path} has its URL in the variable {variable!r}, which is not set: "
            "export it"
        )
    return url


def _are_patterns(queues: object) -> bool:
    return (
        isinstance(queues, Sequence)
        and not isinstance(queues, str | bytes)
        and len(queues) > 0
        and all(isinstance(each, str) and each for each in queues)
    )
