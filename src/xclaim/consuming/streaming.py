"""A stream of claims: claimed ahead in batches, settled when the next one is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from xclaim import verbs
from xclaim.arguments import MAX_LIMIT
from xclaim.claims import Claim
from xclaim.connections import calls
from xclaim.connections.payload_work import takes_long, unreadable
from xclaim.errors import ClaimLostError

if TYPE_CHECKING:
    from xclaim.consuming.holding import QueueAndId
    from xclaim.consuming.loop import Loop


class Stream:
    """The claims of one stream. ``turn`` talks to the database, ``next`` does not.

    So asyncio crosses into blocking code for each batch, and not for each message.
    """

    def __init__(
        self,
        loop: Loop,
        size: int,
        claimant: dict[str, Any],
        lease_limit: timedelta,
        wait: timedelta | None,
    ) -> None:
        self._loop = loop
        self._size = size
        self._claimant = claimant
        self._wait = wait
        self._holding = loop.holding(claimant["lease"], lease_limit)
        self._claims = self._holding.claims
        self._works = self._holding.works
        self._is_begun = False
        self._was_read: Claim | None = None  # ahead, by somebody who may wait for it
        # Since one was handed out: what could not be read, and what of it has come back since.
        self._released: set[QueueAndId] = set()
        self._came_back: set[QueueAndId] = set()

    def turn(self) -> bool:
        """Ack what is finished and claim more; return False at the end of the stream."""
        if self._holding.is_of_a_parent():
            return False
        if not self._is_begun:
            self._is_begun = True
            self._holding.keep_alive()
        while True:
            if self._is_in_vain(self._holding.release_set_aside()):
                self._holding.ack()  # nobody else does: this turn claims nothing more
                return False
            if self._claims.is_ack_due():
                self._holding.ack()
            if not self._claims.has_waiting() and not self._refill() and self._wait is not None:
                self._loop.fill_waiting(self._claims, self._size, self._wait, self._claimant)
            if not self._claims.has_waiting() or self._read_first():
                return self._claims.has_waiting()

    def next(self) -> Claim | None:
        """Return the next claim, which ends the one before; None when it is time for a turn.

        What cannot be read is set aside, to be released at the next turn. That comes before what
        was claimed along with it, which is handed back then.
        """
        self._works.leave()
        if self._holding.is_of_a_parent():
            return None
        while (claim := self._claims.advance(self._is_ready)) is not None:
            error = unreadable(claim.message)
            if error is None:
                self._holding.is_read()
                self._forget_released()
                self._works.begin((claim,))
                return claim
            self._claims.set_aside(claim, error)
            if self._claims.waiting_behind([claim]):
                return None
        return None

    def _is_in_vain(self, released: set[QueueAndId]) -> bool:
        """Return whether all there is to claim cannot be read, and comes back at once."""
        is_all = len(released) < self._asked()
        is_again = bool(released) and released <= self._released
        self._came_back |= released & self._released
        self._released |= released
        return is_again and is_all and self._wait is None and not self._claims.has_waiting()

    def _forget_released(self) -> None:
        self._released.clear()
        self._came_back.clear()

    def _is_ready(self, claim: Claim) -> bool:
        return claim is self._was_read or not takes_long(claim.message)

    def _read_first(self) -> bool:
        """Read the next message ahead if that takes long; return whether one is ready."""
        while (claim := self._claims.first()) is not None and not self._is_ready(claim):
            error = self._loop.runner.concurrency.offload(partial(unreadable, claim.message))
            if error is None:
                self._was_read = claim
            else:
                self._claims.set_aside(claim, error)
                if self._claims.waiting_behind([claim]):
                    return False
        return claim is not None

    def abandon(self) -> None:
        """End the work on the current message: nobody asks for the next one."""
        self._works.leave()

    def close(self, error: BaseException | None, handed_out: Claim | None) -> None:
        """Settle what is held: ack the finished, release the current, hand back the others.

        ``error`` is what ended the stream, ``handed_out`` the last claim that the consumer got.
        Raise ClaimLostError naming what could not be acked, if the stream was left on purpose.
        """
        try:
            self._works.leave(None if isinstance(error, GeneratorExit) else error)
        finally:  # an interrupt may strike whoever comes along
            self._settle(error, handed_out)

    def _settle(self, error: BaseException | None, handed_out: Claim | None) -> None:
        concurrency = self._loop.runner.concurrency
        if error is None:
            self._holding.end_keep_alive()
            return
        is_left = isinstance(error, GeneratorExit)
        if not is_left:  # raised after the next one was asked for, or before it was handed out
            self._claims.stop_at(handed_out)
        # Who leaves on purpose can wait for a database that is away, as the stream itself does.
        within = None if is_left and not concurrency.is_cancelled() else calls.BOUND
        self._holding.wind_up(error, within=within)

    def _refill(self) -> bool:
        # Who does not wait ends at nothing.
        verb = verbs.DRAIN if self._wait is None else verbs.CLAIM_MANY
        claim = partial(self._run, verb, self._loop.name, self._asked())
        if finished := self._claims.finished():
            both = partial(self._ack_and_claim, finished)
            return self._loop.again.run(both, again=partial(self._ack_then_claim, claim))
        # Who waits looks when his wait begins.
        return self._wait is None and self._loop.again.run(claim)

    def _ack_and_claim(self, finished: list[Claim]) -> bool:
        asked = self._loop.name, finished, self._asked()
        waits = self._wait is not None
        return self._run(verbs.ACK_AND_CLAIM, *asked, acks=finished, waits=waits)

    def _asked(self) -> int:
        """Return how many to claim: of more than come back unread one can be, if there is one."""
        return min(self._size + len(self._came_back), MAX_LIMIT)

    def _ack_then_claim(self, claim: Any) -> bool:
        self._holding.ack_again()
        return claim()  # type: ignore[no-any-return]

    def _run(
        self, verb: Any, *arguments: Any, acks: list[Claim] | None = None, **options: Any
    ) -> bool:
        def run() -> bool:
            try:
                claims = self._loop.runner.run_once(verb, *arguments, **self._claimant, **options)
            except ClaimLostError as lost:
                self._holding.note_acked(acks or [], lost)
                raise
            self._holding.note_acked(acks or [])
            self._claims.fill(claims)
            return bool(claims)

        return self._loop.runner.concurrency.finish(run)


def each(stream: Stream) -> Iterator[Claim]:
    """Yield the claims of the stream, and close it at the end."""
    error: BaseException | None = None
    handed_out: Claim | None = None
    try:
        while stream.turn():
            while (claim := stream.next()) is not None:
                handed_out = claim  # no signal strikes between this and the next line
                yield claim
    except BaseException as raised:
        error = raised
        raise
    finally:
        stream.close(error, handed_out)
