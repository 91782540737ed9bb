"""What each worker believes, in a log of its own that survives the worker.

A line is written by one call and before the next step is taken, so that a killed worker has said
what it was about to do. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

from xclaim import Claim

# What a lost connection or a server in trouble looks like; psycopg's InternalError is a connection
# that was lost within the answer to a COMMIT. A constraint that is violated is our own mistake.
EXPECTED = (OperationalError, InterfaceError, InternalError)


class Event(StrEnum):
    """What a worker can say."""

    PUSHING = "pushing"  # from now on these keys may be in the table
    PUSHED = "pushed"  # the push has returned
    CLAIMED = "claimed"
    ACKING = "acking"  # from now on these claims may be settled
    ACKED = "acked"
    RELEASING = "releasing"  # from now on others may claim the message
    FAILING = "failing"  # the same, after a pause
    FAILED = "failed"  # the message was released with an error
    LOST = "lost"  # ClaimLostError
    FAULT = "fault"  # that a worker brings on itself: its task is cancelled, it forks
    WOUND_UP = "wound up"  # after it was cancelled or interrupted, and what it has left
    ERROR = "error"  # of the database: expected
    UNEXPECTED = "unexpected"  # anything else


class Log:
    """The log of one process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, event: Event, **values: Any) -> None:
        line = json.dumps({"event": event, "at": time.monotonic(), **values})
        os.write(self._file, line.encode() + b"\n")

    def note(self, error: Exception) -> None:
        """An error of the database is expected, others are not."""
        if isinstance(error, EXPECTED):
            self.write(Event.ERROR, error=type(error).__name__, cause=type(error.orig).__name__)
        else:
            self.write(Event.UNEXPECTED, error="".join(traceback.format_exception(error)))

    def pushing(self, keys: Iterable[str]) -> None:
        self.write(Event.PUSHING, keys=list(keys))

    def pushed(self, ids: dict[str, int]) -> None:
        self.write(Event.PUSHED, ids=ids)

    def claimed(self, claims: Iterable[Claim], *, loop: str, asked_at: float, lease: float) -> None:
        """``asked_at``: a time before the claim, so that its lease lasts until then and longer."""
        said = [
            [claim.message.id, str(claim.token), claim.message.attempts, claim.claimed_by]
            for claim in claims
        ]
        self.write(Event.CLAIMED, claims=said, loop=loop, asked_at=asked_at, lease=lease)

    def settle(self, event: Event, claims: Iterable[Claim]) -> None:
        tokens = [str(claim.token) for claim in claims]
        if tokens:
            self.write(event, tokens=tokens)


@dataclass(slots=True, kw_only=True)
class Held:
    """One claim, as its worker saw it."""

    worker: str
    message_id: int
    attempts: int
    claimed_by: str
    loop: str
    claimed_at: float  # when the answer was there: the claim was made before
    leased_until: float  # at the earliest
    given_up_at: float | None = None  # when the worker began to settle it
    failing_at: float | None = None  # when it began to release it with an error
    failed_at: float | None = None  # when it had done so
    is_to_be_acked: bool = False
    outcome: Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WoundUp:
    """What a worker found in the table after it was cancelled or interrupted, all by token."""

    worker: str
    at: float
    left: Mapping[str, int]  # claimed by it still, with the ids of the messages
    held: frozenset[str]  # what it holds by its own wish
    finished: Sequence[str]  # messages of a stream: the next one was asked for
    errors: int  # of the database, meanwhile


@dataclass(slots=True)
class Beliefs:
    """What all workers believe."""

    pushing: set[str] = field(default_factory=set)
    pushed: dict[str, int] = field(default_factory=dict)
    claims: dict[str, Held] = field(default_factory=dict)  # by token
    wound_up: list[WoundUp] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)  # what a log alone can show

    def add(self, worker: str, line: dict[str, Any]) -> None:
        match Event(line["event"]):
            case Event.PUSHING:
                self.pushing.update(line["keys"])
            case Event.PUSHED:
                self._add_pushed(line["ids"])
            case Event.CLAIMED:
                self._add_claims(worker, line)
            case Event.ERROR:
                self.errors[line["error"]] += 1
            case Event.FAULT:
                self.faults[line["kind"]] += 1
            case Event.WOUND_UP:
                self._add_wound_up(worker, line)
            case Event.UNEXPECTED:
                self.violations.append(f"unexpected in {worker}: {line['error']}")
            case settled:
                for token in line["tokens"]:
                    self._settle(self.claims[token], settled, line["at"])

    def _add_pushed(self, ids: dict[str, int]) -> None:
        for key, id_ in ids.items():
            if self.pushed.setdefault(key, id_) != id_:
                self.violations.append(f"key {key} was pushed as {self.pushed[key]} and {id_}")

    def _add_claims(self, worker: str, line: dict[str, Any]) -> None:
        for id_, token, attempts, claimed_by in line["claims"]:
            if token in self.claims:
                self.violations.append(f"token {token} was given twice, for message {id_}")
            self.claims[token] = Held(
                worker=worker,
                message_id=id_,
                attempts=attempts,
                claimed_by=claimed_by,
                loop=line["loop"],
                claimed_at=line["at"],
                leased_until=line["asked_at"] + line["lease"],
            )

    def _add_wound_up(self, worker: str, line: dict[str, Any]) -> None:
        self.wound_up.append(
            WoundUp(
                worker=worker,
                at=line["at"],
                left=line["left"],
                held=frozenset(line["held"]),
                finished=line["finished"],
                errors=line["errors"],
            )
        )

    def _settle(self, held: Held, event: Event, at: float) -> None:
        if held.given_up_at is None:
            held.given_up_at = at
        if event is Event.ACKING:
            held.is_to_be_acked = True
        elif event is Event.FAILING:
            held.failing_at = held.failing_at or at
        elif event is Event.FAILED:
            held.failed_at = held.failed_at or at
        elif event in {Event.ACKED, Event.LOST}:
            held.outcome = event


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log. A worker that is killed may leave its last one unfinished."""
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


def gather(folder: Path) -> Beliefs:
    """Return what all the logs in a folder say."""
    beliefs = Beliefs()
    for path in sorted(folder.glob("*.jsonl")):
        for line in read(path):
            beliefs.add(path.stem, line)
    return beliefs
