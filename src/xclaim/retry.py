"""How long a message rests after a failed attempt, and after how many it is a dead letter."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from xclaim import arguments
from xclaim.errors import InvalidArgumentError

if TYPE_CHECKING:
    from xclaim.message import Message

# With the pauses of Retry these are about ten hours: whoever is asleep when a service goes down
# finds its messages still being tried in the morning.
MAX_ATTEMPTS = 20
_MOST_PAUSES = 1_000  # of different lengths; a factor of 1.01 needs 823 up to an hour


class _Limit(Enum):
    """Marks a limit that is not said here; an enum, which stays itself when it is pickled."""

    OF_THE_MESSAGE = "of the message"


OF_THE_MESSAGE = _Limit.OF_THE_MESSAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How failed messages are tried again: after 5 s, 10 s, 20 s and so on, after an hour at most.

    The n-th attempt to fail is followed by a pause of ``first * factor ** (n - 1)``, at most
    ``most``, less a random part of up to ``jitter``, so that what failed together does not come
    back together. After ``max_attempts`` attempts a message is a dead letter: by default as many
    as its producer said, ``None`` for never. Raise InvalidArgumentError for what makes no sense.
    """

    first: timedelta = timedelta(seconds=5)
    factor: float = 2.0
    most: timedelta = timedelta(hours=1)
    jitter: float = 0.25
    max_attempts: int | Literal[_Limit.OF_THE_MESSAGE] | None = OF_THE_MESSAGE

    def __post_init__(self) -> None:
        """Check the values."""
        arguments.seconds("first", self.first)
        arguments.seconds("most", self.most)
        arguments.number("factor", self.factor, 1, 1_000)
        arguments.number("jitter", self.jitter, 0, 1)
        if self.first > self.most:
            raise InvalidArgumentError(
                f"the first pause, {self.first}, is longer than the longest, most={self.most}: "
                "say a shorter first or a longer most"
            )
        if self.max_attempts is not OF_THE_MESSAGE:
            arguments.optional_max_attempts(self.max_attempts)

    def __repr__(self) -> str:
        """Return what differs from the default."""
        said = [
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        ]
        return f"Retry({', '.join(said)})"

    def pauses(self) -> list[float]:
        """Return the seconds after the first failed attempt, the second and so on, undrawn.

        The last one holds for all that follow.
        """
        seconds, most = self.first.total_seconds(), self.most.total_seconds()
        pauses = [seconds]
        while 0 < seconds < most and self.factor > 1 and len(pauses) < _MOST_PAUSES:
            seconds = min(seconds * self.factor, most)
            pauses.append(seconds)
        return pauses

    def drawn(self, attempts: int) -> timedelta:
        """Return how long a message rests after so many attempts, less a random part."""
        pauses = self.pauses()
        pause = pauses[min(max(attempts, 1), len(pauses)) - 1]
        share = random.random()  # noqa: S311  (of a pause, not of a secret)
        return timedelta(seconds=pause * (1 - self.jitter * share))

    def is_used_up(self, message: Message) -> bool:
        """Return whether the message has had all its attempts."""
        limit = self.limit_of(message)
        return limit is not None and message.attempts >= limit

    def limit_of(self, message: Message) -> int | None:
        """Return how many attempts the message may have, None for any number."""
        if isinstance(self.max_attempts, _Limit):
            return message.max_attempts
        return self.max_attempts


RETRY = Retry()


def checked_retry(value: Any) -> Retry:
    """Return the Retry. Raise InvalidArgumentError if it is none."""
    if not isinstance(value, Retry):
        raise InvalidArgumentError(
            f"retry must be a Retry, not {type(value).__name__}: "
            "for example retry=Retry(first=timedelta(seconds=30), max_attempts=5)"
        )
    return value
