"""What the running task has claimed and not settled yet.

When a task fails for good nobody resumes these: the listener gives them back at once instead of
leaving them to their leases. When it is retried, the listener keeps them for the retry. It knows of
them from here, so it has nothing to ask any database for, and in a process that claimed nothing
(scheduler, API server) it does nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from xclaim.errors import ClaimLostError, UnfinishedError, XclaimError

if TYPE_CHECKING:
    from uuid import UUID

    from xclaim import Claim


class Holder(Protocol):
    """The queue of a claim, which can settle it."""

    def release(
        self, claim: Any, *, delay: timedelta | None = None, error: object = None
    ) -> object:
        """Give it back, after an error or a delay."""

    def extend(self, claim: Any, *, lease: timedelta) -> object:
        """Keep it for so long."""

    def keep(self, claim: Any, *, error: object, lease: timedelta) -> object:
        """Note a failed attempt, and keep the claim for so long."""


@dataclass(frozen=True, slots=True)
class _Open:
    instance_id: str
    claim: Claim
    queue: Holder
    pause: timedelta | None = None  # of a claim that failed, and is kept for the retry
    is_left: bool = False  # by a stream, which does not know why


_open: dict[UUID, _Open] = {}
# Weakly: a stream that nobody can reach any more has been closed, and has handed back by itself.
_streams: WeakKeyDictionary[Generator[Claim, Any, Any], str] = WeakKeyDictionary()
_logger = logging.getLogger("xclaim")


def note(instance_id: str, claims: Iterable[Claim], queue: Holder) -> None:
    """Remember the claims of a try, and the queue that can settle them."""
    _open.update({claim.token: _Open(instance_id, claim, queue) for claim in claims})


def note_left(instance_id: str, claim: Claim, queue: Holder) -> None:
    """Remember a claim that a stream was left with: whether it failed, the task's end tells."""
    _open[claim.token] = _Open(instance_id, claim, queue, is_left=True)


def note_kept(instance_id: str, claim: Claim, queue: Holder, pause: timedelta) -> None:
    """Remember a claim that failed and is kept, and how long it rests if there is no retry."""
    # Of thousands that failed the payloads would fill the memory.
    message = replace(claim.message, stored=None, codec=None)
    _open[claim.token] = _Open(instance_id, replace(claim, message=message), queue, pause)


def note_stream(instance_id: str, stream: Iterator[Claim]) -> None:
    """Remember a stream of a try: it holds claims ahead, which closing it hands back.

    A loop that raises closes its stream, unless a variable keeps it alive in the traceback.
    """
    if isinstance(stream, Generator):
        _streams[stream] = instance_id


def forget(claims: Iterable[Claim]) -> None:
    """Drop what was settled, or handed on."""
    for claim in claims:
        _open.pop(claim.token, None)


@contextmanager
def settling(claims: Iterable[Claim]) -> Iterator[None]:
    """Drop the claims that the block settles; what fails otherwise than by a loss is still held."""
    try:
        yield
    except ClaimLostError:
        forget(claims)
        raise
    forget(claims)


def release_all(instance_id: str, error: object) -> None:
    """Give back what a try holds that failed for good; what cannot be comes back by its lease."""
    for each in _taken_from(instance_id):
        if each.pause is None:
            _try(each, partial(each.queue.release, each.claim, error=error))
        else:  # its own error is noted already
            _try(each, partial(each.queue.release, each.claim, delay=each.pause))


def keep_all(instance_id: str, error: object, lease: timedelta) -> None:
    """Keep what a try holds for its retry."""
    for each in _taken_from(instance_id):
        if each.pause is None:
            _try(each, partial(each.queue.keep, each.claim, error=error, lease=lease))
        else:
            _try(each, partial(each.queue.extend, each.claim, lease=lease))


def release_failed(instance_id: str) -> None:
    """Give back what failed in a try that is over without a retry, because the task went on."""
    for each in _taken_from(instance_id):
        if each.is_left:
            _try(each, partial(each.queue.release, each.claim, error=UnfinishedError()))
        elif each.pause is not None:
            _try(each, partial(each.queue.release, each.claim, delay=each.pause))


def kept_by(queue: Holder) -> list[Claim]:
    """Return the claims that failed and are kept, of one queue of a try."""
    noted = list(_open.values())
    return [each.claim for each in noted if each.queue is queue and each.pause is not None]


def holds_any(instance_id: str) -> bool:
    """Return whether a try holds something."""
    return instance_id in {*_streams.values(), *(each.instance_id for each in _open.values())}


def _taken_from(instance_id: str) -> list[_Open]:
    for stream in [stream for stream, owner in list(_streams.items()) if owner == instance_id]:
        _try_to(stream.close, "a stream was not closed: %s")
    noted = list(_open.values())  # other threads of the task may still claim
    held = [each for each in noted if each.instance_id == instance_id]
    forget(each.claim for each in held)
    return held


def _try(held: _Open, settle: Callable[[], object]) -> None:
    _try_to(settle, f"message {held.claim.message.id} was not released: %s")


def _try_to(settle: Callable[[], object], complaint: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        settle()
    except (XclaimError, SQLAlchemyError, ValueError) as error:  # of a stream a thread is in
        _logger.info(complaint, error)
