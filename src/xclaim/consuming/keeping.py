"""Who decides what becomes of a claim whose work failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from xclaim.claims import Claim
from xclaim.errors import PayloadReadError
from xclaim.message import Message
from xclaim.retry import Retry


class Keeper(Protocol):
    """Knows whether the claimant itself will try again, as the task of a scheduler may."""

    def is_no_failure(self, error: BaseException | str) -> bool:
        """Return whether the work was only put off: the message is handed back uncounted."""

    def keeps(
        self,
        claim: Claim,
        error: BaseException | str,
        retry: Retry,
        note: Callable[..., Message],
    ) -> bool:
        """Return whether the claim stays with its claimant; if not, it is released.

        ``note(error=, lease=)`` keeps the error, and the claim for so long.
        """

    def released(self, message: Message) -> None:
        """Note a message that was released, or that is a dead letter now."""

    def unreadable(self, message: Message, error: PayloadReadError) -> None:
        """Note a message that was released since it cannot be read, and was handed to nobody."""


class NobodyKeeps:
    """What failed is for whoever comes next."""

    def is_no_failure(self, _: object) -> bool:
        """Return False."""
        return False

    def keeps(self, *_: object) -> bool:
        """Return False."""
        return False

    def released(self, message: Message) -> None:
        """Do nothing."""

    def unreadable(self, message: Message, error: PayloadReadError) -> None:
        """Do nothing."""
