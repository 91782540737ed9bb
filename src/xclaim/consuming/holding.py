"""Claims that are held for a block: kept alive, then settled, in the one place that winds up."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy.exc import DBAPIError

from xclaim import verbs
from xclaim.claims import Claim
from xclaim.connections import calls
from xclaim.connections.companions import Outcome, Works
from xclaim.connections.payload_work import takes_long, unreadable
from xclaim.connections.runner import note_failed_release
from xclaim.consuming.claims_ahead import ClaimsAhead
from xclaim.consuming.keep_alive import KeepAlive
from xclaim.consuming.keeping import Keeper
from xclaim.errors import (
    ClaimLostError,
    EncryptionKeyError,
    MessagesFailedError,
    PayloadReadError,
    UnfinishedError,
)
from xclaim.verb import Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xclaim.connections.runner import Runner
    from xclaim.consuming.reconnecting import Reconnecting
    from xclaim.retry import Retry

T = TypeVar("T")
QueueAndId = tuple[str, int]  # the parts of a split queue have ids of their own

_MOST_WITHOUT_KEY = 100

_logger = logging.getLogger("xclaim")


class Holding:
    """A block that holds claims. Leave it by ``finish``, or what is left is wound up.

    Winding up means: finished messages are acked, those in work released with the error, and those
    not begun handed back uncounted; and so are those in work if the error is that one of them could
    not be read, which they are not to blame for. After an error it takes ``BOUND`` seconds at most.
    A stream that is left on purpose waits as long for a server that is silent, and for one that is
    away as long as it would while it runs. Then the messages come back with their lease.
    """

    is_writer = False  # whether it has a transaction of its own

    def __init__(
        self,
        runner: Runner,
        again: Reconnecting,
        keeper: Keeper,
        *,
        lease: timedelta,
        lease_limit: timedelta,
    ) -> None:
        self._process_id = os.getpid()
        self.claims = ClaimsAhead()
        self.is_done = False  # whether the block has ended well, and only its ack may be missing
        self.works = Works(runner.bind_of)
        self._runner = runner
        self._again = again
        self._keeper = keeper
        self._lease = lease
        self._lease_limit = lease_limit
        self._keep_alive: KeepAlive | None = None
        self._settled_by_hand: set[int] = set()  # ids
        self._without_key = 0  # messages in a row
        _open[self] = None

    def settle_by_hand(
        self,
        claims: list[Claim],
        run: Callable[..., T],
        outcome: Outcome,
        error: object,
        hand_back: Callable[[list[Claim]], object],
    ) -> T:
        """Let ``run`` settle claims that are held here, of which this is nobody's task any more.

        ``outcome`` is what that makes of the work on them, with this ``error``. ``hand_back`` does
        so as ``run`` settles, in the same transaction: another one would wait for it. What was lost
        stays: the ack at the end reports it. Who is interrupted meanwhile may go on with the block,
        so that it is noted within the call that settles.
        """

        def settle() -> T:
            try:
                result = run()
            except ClaimLostError as raised:
                lost = {claim.token for claim in raised.claims}
                settled = [each for each in claims if each.token not in lost]
                self._note_settled(settled, outcome, error)
                raise
            self._note_settled(claims, outcome, error)
            if outcome is not Outcome.ACKED:
                self._hand_back_behind(claims, hand_back)
            return result

        return self._runner.concurrency.finish(settle)

    def _hand_back_behind(
        self, released: list[Claim], hand_back: Callable[[list[Claim]], object]
    ) -> None:
        """Hand back what was claimed along with one that is released: it is not its turn.

        What the consumer has been handed already is his.
        """
        if behind := self.claims.waiting_behind(released):
            hand_back(behind)
            self.claims.settle(behind)
            self.works.settle(behind, Outcome.RELEASED)

    def _note_settled(self, claims: list[Claim], outcome: Outcome, error: object) -> None:
        self.claims.settle(claims)
        self.works.settle(claims, outcome, error)
        self._settled_by_hand.update(claim.message.id for claim in claims)

    @property
    def retry(self) -> Retry:
        """How what fails here is tried again."""
        return self._runner.retry

    def holds(self, claim: Claim) -> bool:
        """Return whether the claim is held here, by this process."""
        return self.claims.has(claim) and not self.is_of_a_parent()

    def release_unreadable(self) -> set[QueueAndId]:
        """Release what waits here and cannot be read, each with its error; return which it was.

        What takes long to be decoded is not: its payload tells.
        """
        for claim in self.claims.waiting():
            if error := unreadable(claim.message, decodes=not takes_long(claim.message)):
                self.claims.set_aside(claim, error)
        return self.release_set_aside()

    def release_set_aside(self) -> set[QueueAndId]:
        """Release what was set aside, and return which it was: none is a reason to end a loop.

        But a worker without the key fails all that it is given, and no message is to blame: raise
        EncryptionKeyError after a hundred in a row.
        """
        aside = self.claims.unreadable()
        for claim, error in aside:
            release = partial(self._release_one_set_aside, claim, error)
            self._again.run(partial(self._runner.concurrency.finish, release))
            self._without_key += isinstance(error, EncryptionKeyError)
            if self._without_key >= _MOST_WITHOUT_KEY:
                raise error
        return {(claim.message.queue, claim.message.id) for claim, _ in aside}

    def is_read(self) -> None:
        """Note that a message could be read."""
        self._without_key = 0

    def _release_one_set_aside(self, claim: Claim, error: PayloadReadError) -> None:
        with suppress(ClaimLostError):  # who has the message now will see for himself
            message = self._runner.run_once(verbs.RELEASE, claim, error=error)
            self._keeper.released(message)
            self._keeper.unreadable(message, error)
        self.claims.settle([claim])
        self._hand_back_behind([claim], partial(self._runner.run_once, verbs.HAND_BACK))
        _logger.warning(
            "message %s in %r cannot be read and was released (%s)",
            claim.message.id,
            claim.message.queue,
            type(error).__name__,  # its text may show what is confidential
        )

    def begin(self) -> list[Claim]:
        """Begin the work on all that is held, and return it."""
        if self.claims.has_waiting():
            self.keep_alive()
            self.works.begin(self.claims.waiting())
        return self.claims.start_all()  # last: what is interrupted before is handed back uncounted

    def hand_back_beyond(self, limit: int) -> None:
        """Hand back what waits here beyond so many: it was claimed to get past the unreadable."""
        if beyond := self.claims.waiting()[limit:]:
            hand_back = partial(self._runner.run_once, verbs.HAND_BACK, beyond)
            self._again.run(partial(self._runner.concurrency.finish, hand_back))
            self.claims.settle(beyond)

    def renew(self) -> None:
        """Count the leases of claims that were made before from now: nobody knows what is left.

        What is lost already the ack reports. Not on a connection, as ``keep_alive``.
        """
        held = self.claims.held()
        if self._runner.engines and held:
            extend = partial(self._runner.run_once, verbs.EXTEND_MANY, held, lease=self._lease)
            with suppress(ClaimLostError):
                self._again.run(partial(self._runner.concurrency.finish, extend))

    def keep_alive(self) -> None:
        """Extend the leases from now on; not on a connection, which serves one at a time."""
        if self._runner.engines:
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
        self.works.leave()
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
        try:
            self.works.leave(error)
        finally:  # an interrupt may strike whoever comes along
            is_settled = error is None or self.wind_up(error, within=calls.BOUND)
        return is_settled and self.is_done and isinstance(error, DBAPIError)

    def wind_up(self, error: BaseException, *, within: float | None) -> bool:
        """Settle what is held; return whether all was. What fails is noted, and hides no error."""
        if self.is_of_a_parent():
            return True
        wind_up = partial(self._wind_up, error)
        try:
            return self._runner.concurrency.finish(wind_up, within=within, is_owed=True)
        except TimeoutError as cause:
            if isinstance(error, GeneratorExit):
                raise
            note_failed_release(error, self.claims.held(), cause)
            return False
        finally:
            self.works.end(error)

    def _wind_up(self, error: BaseException) -> bool:
        try:
            if self._keep_alive is not None:
                self._keep_alive.end()
            self._settle(error)
        except ClaimLostError as lost:
            if isinstance(error, GeneratorExit):
                raise
            error.add_note(f"xclaim: {lost}")
            return False
        except Exception as cause:  # of a driver, or of a keeper: it hides no error of the work
            if isinstance(error, GeneratorExit):
                raise
            # The first failure ends it: where the database is away, each would wait for its own.
            note_failed_release(error, self.claims.held(), cause)
            return False
        return True

    def _settle(self, error: BaseException) -> None:
        lost: ClaimLostError | None = None
        self._finish_but_for(error)
        try:
            if finished := self.claims.finished():
                self._attempt(partial(self._ack_by, verbs.ACK_AGAIN, finished))
        except ClaimLostError as raised:
            lost = raised
        self._settle_set_aside()
        current = self.claims.current()
        failed, others = _apart(current, error)
        for claim in failed:
            self._release(claim, error)
        self._hand_back(others)
        if lost is not None:
            raise lost

    def _ack_by(self, verb: Verb[None], claims: list[Claim]) -> None:
        try:
            self._runner.run_once(verb, claims)
        except ClaimLostError as lost:
            self.note_acked(claims, lost)
            raise
        self.note_acked(claims)

    def note_acked(self, claims: list[Claim], lost: ClaimLostError | None = None) -> None:
        """Note that claims were acked, but for those that were lost."""
        self.claims.settle(claims)
        self.works.acked(claims, lost)

    def _settle_set_aside(self) -> None:
        for claim, error in self.claims.unreadable():
            self._attempt(partial(self._release_one_set_aside, claim, error))

    def _hand_back(self, others: Iterable[Claim] = ()) -> None:
        if claims := [*others, *self.claims.waiting()]:
            self._attempt(partial(self._runner.run_once, verbs.HAND_BACK, claims))
            self.claims.settle(claims)
            self.works.settle(claims, Outcome.RELEASED)

    def _release(self, claim: Claim, error: BaseException) -> None:
        with suppress(ClaimLostError):  # who has the message now may keep it
            self._attempt(partial(self._fail, claim, error))
        self.claims.settle([claim])
        self._note_failure(claim, error_of(claim, error))

    def _note_failure(self, claim: Claim, error: BaseException | str) -> None:
        is_put_off = self._keeper.is_no_failure(error)
        self.works.settle([claim], Outcome.RELEASED if is_put_off else Outcome.FAILED, error)

    def _finish_but_for(self, error: BaseException) -> None:
        """Note that what did not fail is done, where the error says what did."""
        if not isinstance(error, MessagesFailedError):
            return
        current = self.claims.current()
        done = [each for each in current if each.message.id not in error.failed]
        by_hand = self._settled_by_hand & error.failed.keys()
        if by_hand or len(done) < len(current):  # else it is about none of them
            self.claims.finish(done)

    def _fail(self, claim: Claim, error: BaseException) -> None:
        said, run = error_of(claim, error), self._runner.run_once
        if self._keeper.is_no_failure(said):
            run(verbs.RELEASE, claim, count=False)
            return
        note = partial(run, verbs.NOTE_FAILURE, claim)
        is_over = self.retry.is_used_up(claim.message) or verbs.is_for_good(claim, said)
        if is_over or not self._keeper.keeps(claim, said, self.retry, note):
            self._keeper.released(run(verbs.RELEASE, claim, error=said))

    def _attempt(self, settle: Callable[[], object]) -> None:
        self._again.run(partial(self._runner.concurrency.attempt, settle))

    def _extend(self) -> None:
        held = self.claims.held()
        try:
            self._runner.run(verbs.EXTEND_MANY, held, lease=self._lease)
        except ClaimLostError as error:
            self.claims.forget(error.claims)


def error_of(claim: Claim, error: BaseException) -> BaseException | str:
    """Return the error that a claim was given up with, when its loop ended with this one."""
    if isinstance(error, MessagesFailedError):
        return error.failed.get(claim.message.id) or error
    if isinstance(error, GeneratorExit):
        # Why a stream was left is not known to it, and may well be an error of the loop.
        return claim.message.read_error or UnfinishedError()
    return error


def _apart(claims: list[Claim], error: BaseException) -> tuple[list[Claim], list[Claim]]:
    """Return the claims that have failed, and the others, which are handed back.

    All have, unless the block could not read the payload of one of them.
    """
    id_ = error.message_id if isinstance(error, PayloadReadError) else None
    failed = [claim for claim in claims if claim.message.id == id_]
    return (failed, [each for each in claims if each.message.id != id_]) if failed else (claims, [])


_open: WeakKeyDictionary[Holding, None] = WeakKeyDictionary()


def by_holding(claims: Iterable[Claim]) -> list[tuple[Holding | None, list[Claim]]]:
    """Return the claims by what holds them for a block or a stream; the last ones, nobody does.

    Those join a transaction of the others: on SQLite it is the one writer.
    """
    # A WeakSet cannot be copied while another thread adds to it, and a lock would not outlive a
    # fork: the references are copied at once.
    there = [each for reference in _open.keyrefs() if (each := reference()) is not None]
    if not there:
        return [(None, list(claims))]
    found: dict[Holding | None, list[Claim]] = {}
    free: list[Claim] = []
    for claim in claims:
        holding = next((each for each in there if each.holds(claim)), None)
        (free if holding is None else found.setdefault(holding, [])).append(claim)
    joined = next((held for holding, held in found.items() if holding and holding.is_writer), None)
    if joined is not None:
        joined += free
        free = []
    return [*found.items(), *([(None, free)] if free or not found else [])]


def holding_of(claim: Claim) -> Holding | None:
    """Return what holds the claim for a block or a stream, if there is something."""
    return by_holding([claim])[0][0] if _open else None
