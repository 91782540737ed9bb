"""What the running task has claimed and not settled yet.

When a task fails for good nobody resumes these: the listener gives them back at once instead of
leaving them to their leases. It knows of them from here, so it has nothing to ask any database for,
and in a process that claimed nothing (scheduler, API server) it does nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from xclaim.errors import ClaimLostError, XclaimError

if TYPE_CHECKING:
    from uuid import UUID

    from xclaim import Claim

Release = Callable[["Claim", str], object]

_open: dict[UUID, tuple[str, Claim, Release]] = {}
# Weakly: a stream that nobody can reach any more has been closed, and has handed back by itself.
_streams: WeakKeyDictionary[Generator[Claim, Any, Any], str] = WeakKeyDictionary()
_logger = logging.getLogger("xclaim")


def note(instance_id: str, claims: Iterable[Claim], release: Release) -> None:
    """Remember the claims of a try, and how to give them back with a reason."""
    _open.update({claim.token: (instance_id, claim, release) for claim in claims})


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


def release_all(instance_id: str, reason: str) -> None:
    """Give back what a try holds; what fails to go back comes back by its lease."""
    for stream in [stream for stream, owner in list(_streams.items()) if owner == instance_id]:
        _try_to(stream.close, "a stream was not closed: %s")
    noted = list(_open.values())  # other threads of the task may still claim
    held = [(claim, release) for owner, claim, release in noted if owner == instance_id]
    forget(claim for claim, _ in held)
    for claim, release in held:
        _try_to(partial(release, claim, reason), f"message {claim.message.id} was not released: %s")


def _try_to(give_back: Callable[[], object], complaint: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        give_back()
    except (XclaimError, SQLAlchemyError, ValueError) as error:  # of a stream a thread is in
        _logger.info(complaint, error)
