"""Names of queues to look at: also those that only a hand has written, which no queue accepts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.errors import InvalidArgumentError


def queue_of(name: Any) -> str:
    """Return the queue that is meant, by its own name or by that of its dead letters."""
    if not isinstance(name, str):
        raise InvalidArgumentError(f"the name of a queue must be a text, not {type(name).__name__}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError("the name of a queue has half a surrogate pair") from None
    if not name or "\0" in name:  # which no database takes
        raise InvalidArgumentError("the name of a queue is empty or has a NUL: name one there is")
    return base_of(name)


def base_of(name: str) -> str:
    """Return the name of a queue without ``.dead``, if anything is left of it then."""
    return name.removesuffix(DEAD_LETTER_SUFFIX) or name


def checked(names: Iterable[str], most: int) -> list[str]:
    """Return the queues that are meant, each once, if they are not too many."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidArgumentError(f"names must be a list, not {type(names).__name__}: [name]")
    wanted = list(dict.fromkeys(map(queue_of, names)))
    if len(wanted) > most:
        raise InvalidArgumentError(
            f"names are {len(wanted)}, which is more than {most}: ask for those in view"
        )
    return wanted
