"""What the running task has claimed and not settled yet.

When a task fails for good nobody resumes these: the listener gives them back at once instead of
leaving them to their leases. It knows of them from here, so it has nothing to ask any database for,
and in a process that claimed nothing (scheduler, API server) it does nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from xclaim import Claim

Release = Callable[["Claim", str], object]

_open: dict[UUID, tuple[str, Claim, Release]] = {}
_logger = logging.getLogger("xclaim")


def note(instance_id: str, claims: Iterable[Claim], release: Release) -> None:
    """Remember the claims of a try, and how to give them back with a reason."""
    _open.update({claim.token: (instance_id, claim, release) for claim in claims})


def forget(claims: Iterable[Claim]) -> None:
    """Drop what was settled, or handed on."""
    for claim in claims:
        _open.pop(claim.token, None)


def release_all(instance_id: str, reason: str) -> int:
    """Give back what a try holds, return how much that was; what fails comes back by its lease."""
    from sqlalchemy.exc import SQLAlchemyError

    from xclaim.errors import XclaimError

    released = 0
    held = [(claim, release) for owner, claim, release in _open.values() if owner == instance_id]
    forget(claim for claim, _ in held)
    for claim, release in held:
        try:
            release(claim, reason)
            released += 1
        except (XclaimError, SQLAlchemyError) as error:
            _logger.info("message %s was not released: %s", claim.message.id, error)
    return released
