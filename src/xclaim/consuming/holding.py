"""Claims that are held for a block: kept alive, then settled, in the one place that winds up."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from xclaim import verbs
from xclaim.connections import calls
from xclaim.connections.runner import note_failed_release
from xclaim.consuming.claims_ahead import ClaimsAhead
from xclaim.consuming.keep_alive import KeepAlive
from xclaim.errors import ClaimLostError
from xclaim.message import Claim
from xclaim.verb import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from xclaim.connections.runner import Runner
    from xclaim.consuming.reconnecting import Reconnecting


class Holding:
    """A block that holds claims. Leave it by ``finish``, or what is left is wound up.

    Winding up means: finished messages are acked, those in work released with the error, and those
    not begun handed back uncounted. After an error it takes ``BOUND`` seconds at most. A stream
    that is left on purpose waits as long for a server that is silent, and for one that is away as
    long as it would while it runs. Then the messages come back with their lease.
    """

    def __init__(
        self, runner: Runner, again: Reconnecting, lease: timedelta, lease_limit: timedelta
    ) -> None:
        self._process_id = os.getpid()
        self.claims = ClaimsAhead()
        self.is_done = False  # whether the block has ended well, and only its ack may be missing
        self._runner = runner
        self._again = again
        self._lease = lease
        self._lease_limit = lease_limit
        self._keep_alive: KeepAlive | None = None

    def begin(self) -> list[Claim]:
        """Begin the work on all that is held, and return it."""
        if self.claims.has_waiting():
            self.keep_alive()
        return self.claims.start_all()  # last: what is interrupted before is handed back uncounted

    def keep_alive(self) -> None:
        """Extend the leases from now on; not on a connection, which serves one at a time."""
        if isinstance(self._runner.bind, Engine):
            self._keep_alive = KeepAlive(
                self._runner.concurrency,
                self._extend,
                lease=self._lease,
                lease_limit=self._lease_limit,
                claimed_at=self.claims.filled_at,
            )
            self._keep_alive.start()

    def finish(self) -> None:
        """End the work: ack all. Raise ClaimLostError naming those that others have."""
        self.claims.finish_current()
        self.is_done = True
        self.end_keep_alive()
        self.ack()

    def end_keep_alive(self) -> None:
        """Extend the leases no more."""
        if self._keep_alive is not None:
            self._runner.concurrency.finish(self._keep_alive.end)
            self._keep_alive = None

    def ack(self) -> None:
        """Ack what is finished. Raise ClaimLostError naming those that others have."""
        claims = self.claims.finished()
        if claims and not self.is_of_a_parent():
            ack, again = (
                partial(self._ack_by, verb, claims) for verb in (verbs.ACK_MANY, verbs.ACK_AGAIN)
            )
            finish = self._runner.concurrency.finish
            self._again.run(partial(finish, ack), again=partial(finish, again))

    def is_of_a_parent(self) -> bool:
        """Return whether this is a fork of the process whose claims these are: it settles none."""
        return self._process_id != os.getpid()

    def ack_again(self) -> None:
        """Ack what is finished after an ack whose answer was lost, whether that was done or not."""
        if claims := self.claims.finished():
            again = partial(self._ack_by, verbs.ACK_AGAIN, claims)
            self._runner.concurrency.finish(again)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Wind up after an error. An ack that only the second attempt could do is no error."""
        if error is None:
            return False
        is_settled = self.wind_up(error, reason=_reason(error), within=calls.BOUND)
        return is_settled and self.is_done and isinstance(error, DBAPIError)

    def wind_up(self, error: BaseException, *, reason: str, within: float | None) -> bool:
        """Settle what is held; return whether all was. What fails is noted, and hides no error."""
        if self.is_of_a_parent():
            return True
        wind_up = partial(self._wind_up, error, reason)
        try:
            return self._runner.concurrency.finish(wind_up, within=within, is_owed=True)
        except TimeoutError as cause:
            if isinstance(error, GeneratorExit):
                raise
            note_failed_release(error, self.claims.held(), cause)
            return False

    def _wind_up(self, error: BaseException, reason: str) -> bool:
        try:
            if self._keep_alive is not None:
                self._keep_alive.end()
            self._settle(reason)
        except ClaimLostError as lost:
            if isinstance(error, GeneratorExit):
                raise
            error.add_note(f"xclaim: {lost}")
            return False
        except (SQLAlchemyError, TimeoutError) as cause:
            if isinstance(error, GeneratorExit):
                raise
            # The first failure ends it: where the database is away, each would wait for its own.
            note_failed_release(error, self.claims.held(), cause)
            return False
        return True

    def _settle(self, reason: str) -> None:
        lost: ClaimLostError | None = None
        try:
            if finished := self.claims.finished():
                self._attempt(partial(self._ack_by, verbs.ACK_AGAIN, finished))
        except ClaimLostError as error:
            lost = error
        for claim in self.claims.current():
            self._release(claim, reason)
        self._hand_back(reason)
        if lost is not None:
            raise lost

    def _ack_by(self, verb: Verb[None], claims: list[Claim]) -> None:
        try:
            self._runner.run_once(verb, claims)
        except ClaimLostError:
            self.claims.settle(claims)  # the others were acked, these are lost
            raise
        self.claims.settle(claims)

    def _hand_back(self, reason: str) -> None:
        if waiting := self.claims.waiting():
            hand_back = partial(self._runner.run_once, verbs.HAND_BACK, waiting, error=reason)
            self._attempt(hand_back)
            self.claims.settle(waiting)

    def _release(self, claim: Claim, reason: str) -> None:
        release = partial(self._runner.run_once, verbs.RELEASE, claim, error=reason)
        with suppress(ClaimLostError):  # who has the message now may keep it
            self._attempt(release)
        self.claims.settle([claim])

    def _attempt(self, settle: Callable[[], object]) -> None:
        self._again.run(partial(self._runner.concurrency.attempt, settle))

    def _extend(self) -> None:
        held = self.claims.held()
        try:
            self._runner.run(verbs.EXTEND_MANY, held, lease=self._lease)
        except ClaimLostError as error:
            self.claims.forget(error.claims)


def _reason(error: BaseException) -> str:
    """Return the last_error of a message whose work raised."""
    return f"{type(error).__name__}: {error}"
