"""What every contender of the benchmarks does: the same work, in its own best way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Payload = dict[str, Any]  # {"n": 17, "text": "..."}: n is unique within a run

QUEUE = "bench"


class MissingError(Exception):
    """A contender cannot take part on this machine: the text says what it needs, and the page too.

    It is no ImportError, which says that the environment is not that of the benchmarks.
    """


class Session(Protocol):
    """One worker's connection, opened in the process and thread that uses it.

    A contender that is asyncio inside keeps one event loop per session and runs each of these
    calls in it as a whole, so that the loop is entered once per call and not once per message.
    """

    def push(self, payloads: Sequence[Payload]) -> None:
        """Push the payloads one at a time, each by a call and a commit of its own."""

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Push the payloads by one batch call; where there is none, one by one."""

    def consume(self, limit: int, batch: int) -> list[int]:
        """Claim and ack ``batch`` at a time until there is nothing left or ``limit`` are done.

        A message is acked after it was claimed, by a statement that commits. Where there are batch
        calls they are used when ``batch`` is more than 1. Return ``payload["n"]`` of each.
        """

    def close(self) -> None:
        """Close the connection."""


class OrderedSession(Session, Protocol):
    """One of a contender that keeps an order: of each key one at a time, and in turn."""

    def push_ordered(self, payloads: Sequence[Payload], keys: int) -> None:
        """Push the payloads one at a time, each under the key of its number."""

    def consume_ordered(self, limit: int) -> list[int]:
        """Claim and ack one at a time, of each key in the order of the pushes."""


def key_of(payload: Payload, keys: int) -> str:
    """Return which of so many keys a payload has."""
    return f"key-{payload['n'] % keys}"


class Contender(Protocol):
    """A queue library on one database."""

    name: str  # as the tables call it
    package: str | None  # the distribution whose version is reported
    database: str  # "postgresql" or "sqlite"
    note: str  # how it is used, and what is not comparable, in one or two sentences
    unconsumed: str  # the query that counts what was pushed and not consumed, claimed or not

    def install(self, url: str) -> None:
        """Create its tables and the queue in an empty database (``postgresql://...``)."""

    def open(self, url: str) -> Session:
        """Connect to the queue, so that no clock runs meanwhile, and leave its tables alone.

        What it consumes with is connected then. A connection of its own to push with is by the
        first push, which no workload times: two hundred sessions would have too many.
        """
