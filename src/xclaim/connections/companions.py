"""What goes along with a push, or with the work on messages: whoever traces or measures is here.

An event tells what was done. A companion is there while it is done: it may add headers to what is
pushed, and what it makes current at the begin is current in the block that works on a message.
Without anybody who wants to come along, nothing of this is made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from xclaim.connections.calls import is_in_a_call, outside_of_calls
from xclaim.errors import PayloadError, XclaimError
from xclaim.payloads.plain_json import encode_headers

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import URL

    from xclaim.claims import Claim
    from xclaim.connections.sessions import OrmSession
    from xclaim.errors import ClaimLostError
    from xclaim.message import Message

T = TypeVar("T")

_logger = logging.getLogger("xclaim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A push that begins: to which queue, how many payloads, and with which headers.

    ``headers`` are as the caller gave them, and not checked yet. ``url`` is the database's.
    """

    queue: str
    count: int
    headers: Any
    url: URL | None


class PushCompanion:
    """Comes along with one push; all of it happens in the thread or task that pushes."""

    def headers(self) -> Mapping[str, Any]:
        """Return headers to add. Those of the caller win; what does not fit is left out."""
        return {}

    def ended(self, messages: Sequence[Message], error: BaseException | None) -> None:
        """Note how the push has ended: what was pushed, or what was raised."""


class Outcome(StrEnum):
    """How the work on a message has ended.

    ``ACKED``: it is consumed. ``RELEASED``: it was given back, and nothing had failed. ``FAILED``:
    the work has raised, or the message was released with an error. ``LOST``: others have it.
    """

    ACKED = "acked"
    RELEASED = "released"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Work that begins, on one message or on a batch, which is never empty."""

    queue: str
    claims: tuple[Claim, ...]
    url: URL | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkEvent:
    """Work that has ended: after how many seconds, and how.

    ``seconds`` are those of the block, without what it takes to settle the claims. ``outcome`` is
    the worst of those of a batch. ``error`` is what the block has raised, a text if its message was
    released with one, or the ClaimLostError; None if it went well. ``failed`` has the errors of
    single messages, by their ids, of those that were released by hand as well.
    """

    work: Work
    seconds: float
    outcome: Outcome
    error: object
    failed: Mapping[int, object]


class WorkCompanion:
    """Comes along with the work on one message or batch."""

    def left(self) -> None:
        """Note that the block is left, before its claims are settled.

        That may be in another thread, task or context than the begin: a generator is closed
        wherever it is collected.
        """

    def ended(self, event: WorkEvent) -> None:
        """Note how it has ended. Of a stream this may be a second later, with the ack."""


Beginning = TypeVar("Beginning")
Companion = TypeVar("Companion")
Listener = Callable[[Beginning], Companion | None]
IsAwake = Callable[[], bool]


class Companions(Generic[Beginning, Companion]):
    """Who comes along with what begins: each returns a companion, or None."""

    def __init__(self) -> None:
        # Replaced as a whole, so that reading needs no lock.
        self._listeners: tuple[tuple[Listener[Beginning, Companion], IsAwake | None], ...] = ()
        self._lock = threading.Lock()

    def add(
        self, listener: Listener[Beginning, Companion], *, is_awake: IsAwake | None = None
    ) -> None:
        """Call the listener at each begin, in the thread or task and the context of the caller.

        It must be quick; what it raises, or its companion, is logged and changes nothing. While
        ``is_awake`` says no, nothing is made for it.
        """
        with self._lock:
            self._listeners = (*self._listeners, (listener, is_awake))

    def remove(self, listener: Listener[Beginning, Companion]) -> None:
        """Call it no more; one that is not there is no error."""
        with self._lock:
            self._listeners = tuple(each for each in self._listeners if each[0] != listener)

    def are_wanted(self) -> bool:
        """Return whether anybody wants to come along."""
        for _, is_awake in self._listeners:  # noqa: SIM110  (asked for each message: any() is slower)
            if is_awake is None or is_awake():
                return True
        return False

    def begin(self, beginning: Beginning) -> list[Companion]:
        """Tell all that something begins, and return who comes along."""
        made = (
            guarded(listener, beginning)
            for listener, is_awake in self._listeners
            if is_awake is None or is_awake()
        )
        return [each for each in made if each is not None]


def guarded(function: Callable[..., T], *arguments: Any) -> T | None:
    """Call what others wrote; what it raises is logged. None then."""
    is_finished = is_in_a_call()
    with outside_of_calls():  # tasks that it starts are not a part of this one
        try:
            return function(*arguments)
        except BaseException as error:
            if not isinstance(error, Exception) and not is_finished:
                raise  # an interrupt, which in a call that is finished waits for its end
            _logger.warning("what comes along with a push or with work failed", exc_info=True)
            return None


PUSHES: Companions[Push, PushCompanion] = Companions()
WORKS: Companions[Work, WorkCompanion] = Companions()


def url_of(bind: Engine | Connection | OrmSession) -> URL | None:
    """Return the URL of the database that a queue is on; None if a session does not know yet."""
    if isinstance(bind, Engine | Connection):
        return bind.engine.url
    try:
        return bind.database().engine.url
    except (SQLAlchemyError, XclaimError):  # which is what the verb raises
        return None


def accompanied(push: Push, run: Callable[[Any], list[Message]]) -> list[Message]:
    """Run a push with the headers that it has then, and tell its companions how it has ended."""
    companions: list[PushCompanion] = []
    messages: list[Message] = []
    error: BaseException | None = None
    try:
        companions += PUSHES.begin(push)
        headers = push.headers
        for each in companions:
            headers = _with_others(headers, guarded(each.headers))
        messages = run(headers)
        return messages
    except BaseException as raised:
        error = raised
        raise
    finally:
        for each in reversed(companions):
            guarded(each.ended, messages, error)


def _with_others(given: Any, others: Mapping[str, Any] | None) -> Any:
    """Return the headers with others, as far as they fit beside those of the caller."""
    if not others or not (given is None or isinstance(given, Mapping)):
        return given  # what is no mapping is refused by the push itself
    both = {**others, **(given or {})}
    try:
        encode_headers(both)
    except PayloadError:
        return given
    return both


class Worked:
    """The work on some claims, from its begin to its end, and who comes along.

    It has ended when the block is left and the outcome of each claim is known.
    """

    __slots__ = ("_began", "_companions", "_error", "_failed", "_left_after", "_open", "_outcomes")

    def __init__(self, work: Work) -> None:
        self._open: dict[UUID, Claim] = {claim.token: claim for claim in work.claims}
        self._outcomes: set[Outcome] = set()
        self._failed: dict[int, object] = {}
        self._error: object = None
        self._left_after: float | None = None
        self._companions = [(work, each) for each in WORKS.begin(work)]
        self._began = time.monotonic()

    def leave(self, error: object = None) -> None:
        """Note the end of the block, and what it raised; nothing if it has been left."""
        if self._left_after is not None:
            return
        self._left_after = time.monotonic() - self._began
        self._error = error
        for _, each in reversed(self._companions):
            guarded(each.left)
        self._end_if_over()

    def settle(self, claims: Iterable[Claim], outcome: Outcome, error: object = None) -> None:
        """Note the outcome of claims; the first one of each counts."""
        for claim in claims:
            if self._open.pop(claim.token, None) is None:
                continue
            self._outcomes.add(outcome)
            if outcome is Outcome.FAILED and error is not None:
                self._failed[claim.message.id] = error
            elif outcome is Outcome.LOST:
                self._error = self._error or error
        self._end_if_over()

    def settle_all(self, outcome: Outcome, error: object = None) -> None:
        """Note the outcome of all whose outcome is not known."""
        self.settle(list(self._open.values()), outcome, error)

    def _end_if_over(self) -> None:
        if self._open or self._left_after is None:
            return
        companions, self._companions = self._companions, []
        for work, each in reversed(companions):
            guarded(each.ended, self._event(work, self._left_after))

    def _event(self, work: Work, seconds: float) -> WorkEvent:
        error = self._error
        if len(work.claims) == 1:
            error = self._failed.get(work.claims[0].message.id, error)
        return WorkEvent(
            work=work,
            seconds=seconds,
            outcome=_worst(self._outcomes),
            error=error,
            failed=self._failed,
        )


class Works:
    """The work on what a block or a stream holds. It is empty while nobody wants to come along."""

    __slots__ = ("_bind_of", "_by_token", "_current")

    def __init__(self, bind_of: Callable[[Claim], Engine | Connection | OrmSession]) -> None:
        self._bind_of = bind_of
        self._current: Worked | None = None
        self._by_token: dict[UUID, Worked] = {}

    def begin(self, claims: Sequence[Claim]) -> None:
        """Begin the work on these claims, after that on those before."""
        if not claims or not WORKS.are_wanted():
            return
        first = claims[0]
        url = url_of(self._bind_of(first))
        work = Work(queue=first.message.queue, claims=tuple(claims), url=url)
        self._current = worked = Worked(work)
        for claim in claims:
            self._by_token[claim.token] = worked

    def leave(self, error: object = None) -> None:
        """Note the end of the block, and what it raised."""
        current, self._current = self._current, None
        if current is not None:
            current.leave(error)

    def settle(self, claims: Iterable[Claim], outcome: Outcome, error: object = None) -> None:
        """Note the outcome of claims, some of which may not have been begun."""
        if not self._by_token:
            return
        for claim in claims:
            worked = self._by_token.pop(claim.token, None)
            if worked is not None:
                worked.settle([claim], outcome, error)

    def acked(self, claims: Iterable[Claim], lost: ClaimLostError | None = None) -> None:
        """Note that claims were acked, but for those that were lost."""
        if self._by_token:
            self.settle(lost.claims if lost is not None else (), Outcome.LOST, lost)
            self.settle(claims, Outcome.ACKED)

    def end(self, error: object) -> None:
        """Note that nothing more will be known: of an error they have failed."""
        self.leave(error)
        left, self._by_token = set(self._by_token.values()), {}
        for worked in left:
            worked.settle_all(Outcome.FAILED if error is not None else Outcome.ACKED, error)


def _worst(outcomes: set[Outcome]) -> Outcome:
    for outcome in (Outcome.FAILED, Outcome.LOST, Outcome.RELEASED):
        if outcome in outcomes:
            return outcome
    return Outcome.ACKED
