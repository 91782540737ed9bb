"""What the dashboard does to queues and messages: each action, without the pages around it.

An action of many messages does what was shown before, some at a time and for so long; what was not
done is told with the reason. Each step is one line of the log that says who it was.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from xclaim import Queue
from xclaim.arguments import dead_letter_queue, visible
from xclaim.errors import ClaimLostError, InvalidArgumentError, XclaimError
from xclaim.message import Status
from xclaim.observing.asking import is_ended, is_locked_out
from xclaim.observing.observer import TIMEOUT, Observer
from xclaim.observing.values import Action
from xclaim.operations import by_hand
from xclaim.web.pages.filtering import filter_of_ids

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xclaim.observing.values import Listed
    from xclaim.payloads.payloads import Payloads
    from xclaim.web.access import Person
    from xclaim.web.places import Place

MOST = 10_000  # messages of one action
PATIENCE = timedelta(seconds=20)  # proxies wait for an answer at least so long
_STEP = 200  # messages of one statement, and ids in a line of the log
_EXPIRED_AT_ONCE = 1_000
_MOST_NAMED = 10  # ids with one reason
_MOST_REASONS = 4
_NAMED_AT_ONCE = 90  # ids in a filter, which has 2,000 characters
_SAID = 300  # characters of an error
_LONG_NAME = 80  # characters of a name that are shown
_NOT_ALLOWED = ("42501", "25006")  # PostgreSQL: insufficient privilege, read-only transaction
_DONE = {
    Action.REDRIVE: "redriven",
    Action.RELEASE: "released",
    Action.WITHDRAW: "withdrawn",
    Action.EXPIRE: "given back",
}

Chosen = Mapping[str, Sequence[int]]  # ids by the queue that they are in
Step = Callable[[Queue, Sequence[int], "Deed"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """Who acts, and where; ``timeout``: how long a look may take."""

    by: str
    engine: Engine
    schema: str | None = None
    payloads: Payloads | None = None
    timeout: timedelta = TIMEOUT

    @classmethod
    def of(cls, person: Person, place: Place) -> Hand:
        """Return the hand of a person in a place; the log says both.

        It ends with the patience of who waits for it: what is done afterwards, nobody hears of.
        """
        by = f"{_cut(person.name)} (dashboard of {_cut(place.name)})"
        engine = by_hand.in_time(place.engine, PATIENCE)
        return cls(
            by=by,
            engine=engine,
            schema=place.schema,
            payloads=place.payloads,
            timeout=place.timeout,
        )

    def queue(self, name: str) -> Queue:
        """Return the queue as the role of the place has it."""
        return Queue(name, self.engine, schema=self.schema, payloads=self.payloads)

    def note(self, done: str, *values: object) -> None:
        """Write to the log what was done, and who did it."""
        by_hand.note(done, *values, by=self.by)


@dataclass(slots=True, kw_only=True)
class Deed:
    """What came of an action.

    ``done``: of how many messages; ``refused``: why others stay as they are, with their ids;
    ``unnamed``: the same of those that cannot be told; ``left``: how many were not reached in time,
    or because it ``failed``. ``gone``: how many of the preview are not what was asked for any more;
    ``not_looked_at``: of how many of them there was no time to say that.
    """

    action: Action
    done: int = 0
    refused: dict[str, list[int]] = field(default_factory=dict)
    unnamed: Counter[str] = field(default_factory=Counter)
    left: int = 0
    gone: int = 0
    not_looked_at: int = 0
    failed: str | None = None
    changed: list[tuple[Sequence[int], int, str | None]] = field(default_factory=list)

    def refuse(self, why: str, *ids: int) -> None:
        """Note that these messages stay as they are."""
        self.refused.setdefault(why, []).extend(ids)

    def note_left(self, ids: Sequence[int], count: int, *, stays_in: str | None = None) -> None:
        """Note that so many of these changed in between, to be told when no more is done.

        ``stays_in``: of those that stay as they are, only those that are in this queue are told.
        """
        if count:
            self.changed.append((ids, count, stays_in))

    def said(self) -> list[str]:
        """Return it as sentences: what was done, then what was not and why."""
        said = [f"{counted(self.done)} {_DONE[self.action]}."]
        reasons = list(self.refused.items())
        for why, ids in reasons[:_MOST_REASONS]:
            said.append(f"Not done: {counted(len(ids))} ({_some(ids)}): {why}.")
        others = sum(len(ids) for _, ids in reasons[_MOST_REASONS:])
        if others:
            said.append(f"Not done: {counted(others)} more, for such reasons.")
        said += [f"Not done: {counted(n)}: {why}." for why, n in self.unnamed.items()]
        if self.gone:
            said.append(f"Not done: {counted(self.gone)} of the preview changed meanwhile.")
        if self.failed:
            said.append(f"It ended early: {self.failed}.")
        not_reached = self.left + self.not_looked_at
        if not_reached:
            said.append(f"Not reached: {counted(not_reached)}. Ask for it again to go on.")
        return said


def redrive(hand: Hand, chosen: Chosen, *, patience: timedelta = PATIENCE) -> Deed:
    """Move dead letters back to the queues they died in."""

    def step(queue: Queue, ids: Sequence[int], deed: Deed) -> None:
        try:
            count = queue.redrive(ids=ids)
        except InvalidArgumentError:  # one of them is no dead letter: which?
            if len(ids) == 1:
                deed.refuse("no dead letter of its queue any more", *ids)
                return
            half = len(ids) // 2
            step(queue, ids[:half], deed)
            step(queue, ids[half:], deed)
            return
        deed.done += count
        _note(hand, "redrove", count, queue, ids)
        deed.note_left(ids, len(ids) - count, stays_in=queue.name)

    return _step_by_step(hand, Action.REDRIVE, chosen, step=step, patience=patience)


def withdraw(hand: Hand, chosen: Chosen, *, patience: timedelta = PATIENCE) -> Deed:
    """Delete messages that nobody has claimed."""

    def step(queue: Queue, ids: Sequence[int], deed: Deed) -> None:
        count = queue.withdraw(ids=ids)
        deed.done += count
        _note(hand, "withdrew", count, queue, ids)
        deed.note_left(ids, len(ids) - count)

    return _step_by_step(hand, Action.WITHDRAW, chosen, step=step, patience=patience)


def release(
    hand: Hand,
    chosen: Chosen,
    *,
    claimed_until: datetime,
    error: str | None = None,
    count: bool = True,
    patience: timedelta = PATIENCE,
) -> Deed:
    """Take claims from their holders, who cannot settle them any more; the messages come back.

    Those that were claimed by ``claimed_until``, as ``Observer.now`` told it: whoever claimed later
    is not the one that was meant. With an ``error`` the attempts have failed.
    """

    def step(queue: Queue, ids: Sequence[int], deed: Deed) -> None:
        (id_,) = ids
        try:
            claim = by_hand.receipt(hand.engine, queue.name, id_, schema=hand.schema)
            claimed_at = claim.message.claimed_at
            if claimed_at is None or claimed_at > claimed_until:
                deed.refuse("claimed anew after you had looked", id_)
                return
            by_hand.release(
                hand.engine, claim, error=error, count=count, schema=hand.schema, by=hand.by
            )
        except InvalidArgumentError:
            deed.refuse("nobody holds it any more", id_)
        except ClaimLostError:
            deed.refuse("it changed hands meanwhile", id_)
        else:
            deed.done += 1

    return _step_by_step(hand, Action.RELEASE, chosen, step=step, patience=patience, size=1)


def expire(hand: Hand, name: str, *, patience: timedelta = PATIENCE) -> Deed:
    """Give back the messages of a queue whose lease ran out, and those of its dead letters."""
    deed = Deed(action=Action.EXPIRE)
    end = time.monotonic() + patience.total_seconds()
    for each in dict.fromkeys((name, dead_letter_queue(name))):
        if not deed.failed:
            _expire(hand, each, deed, end)
    return deed


def _expire(hand: Hand, name: str, deed: Deed, end: float) -> None:
    done = 0
    with _ending_early(deed), hand.queue(name) as queue:
        count = _EXPIRED_AT_ONCE
        while count == _EXPIRED_AT_ONCE:
            if deed.done and time.monotonic() > end:
                deed.failed = "time was up; ask for it again to go on"
                break
            count = queue.expire(limit=_EXPIRED_AT_ONCE)
            done += count
            deed.done += count
    if done:
        hand.note("gave back %s of %r whose lease had run out", done, name)


def pause(hand: Hand, name: str, reason: str | None) -> None:
    """Let the queue hand out nothing; that is logged by the verb."""
    with hand.queue(name) as queue:
        queue.pause(reason=reason, by=hand.by)


def unpause(hand: Hand, name: str) -> bool:
    """Let it hand out messages again, and return whether it was paused."""
    with hand.queue(name) as queue:
        return queue.unpause(by=hand.by)


def failure(error: Exception) -> str:
    """Return what went wrong, without payloads: of an error of the database, what it is about."""
    if isinstance(error, NoConnectionError):
        return "all connections are in use, and none came free in time"
    if isinstance(error, DBAPIError):
        return _of_database(error)
    return _unknown(error) if isinstance(error, SQLAlchemyError) else _line(str(error))


def _of_database(error: DBAPIError) -> str:
    state = getattr(error.orig, "sqlstate", None)
    said = _line(str(error.orig))
    if is_locked_out(error):
        return "somebody else has locked it just now: nothing more was done"
    if is_ended(error):
        return "the database took too long: nothing more was done"
    if state in _NOT_ALLOWED or "readonly" in said:
        return f"the database does not allow it to its role here ({said})"
    if isinstance(error, OperationalError):
        return f"the database could not do it ({said})"
    return _unknown(error)


def _unknown(error: SQLAlchemyError) -> str:
    return f"the database could not do it ({type(error).__name__}): its log has more"


def counted(count: int) -> str:
    """Return how many messages."""
    return f"{count:,} message" + ("" if count == 1 else "s")


def _step_by_step(
    hand: Hand,
    action: Action,
    chosen: Chosen,
    *,
    step: Step,
    patience: timedelta,
    size: int = _STEP,
) -> Deed:
    deed = Deed(action=action)
    deed.left = sum(map(len, chosen.values()))
    end = time.monotonic() + patience.total_seconds()
    for name, ids in chosen.items():
        try:
            opened = hand.queue(name)
        except InvalidArgumentError as error:  # of a name that only a hand has written
            deed.refuse(failure(error), *ids)
            deed.left -= len(ids)
            continue
        with _ending_early(deed), opened as queue:
            for begin in range(0, len(ids), size):
                some = ids[begin : begin + size]
                step(queue, some, deed)
                deed.left -= len(some)
                if time.monotonic() > end:
                    break
        if deed.failed or time.monotonic() > end:
            break
    _tell_those_left(hand, deed)  # by now no queue holds a connection
    return deed


@contextmanager
def _ending_early(deed: Deed) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, XclaimError) as error:  # also of the pool: what is done is said
        deed.failed = failure(error)


def _note(hand: Hand, done: str, count: int, queue: Queue, ids: Sequence[int]) -> None:
    if count:
        named = ", ".join(map(str, sorted(ids)))
        hand.note(
            f"{done} %s from %r: {'message' if len(ids) == 1 else 'messages'} %s",
            count,
            queue.name,
            named,
        )


def _tell_those_left(hand: Hand, deed: Deed) -> None:
    """Tell which of the messages stay as they are, and why: they changed in between."""
    # Not by Queue.get: who may act need not be allowed to read payloads.
    observer = Observer(hand.engine, schema=hand.schema, timeout=hand.timeout)
    with _ending_early(deed):
        for ids, count, stays_in in deed.changed:
            found = [each for each in _listed(observer, ids) if stays_in in (None, each.queue)]
            for message in found:
                deed.refuse(_state(message), message.id)
            if count > len(found):
                deed.unnamed["gone meanwhile"] += count - len(found)


def _listed(observer: Observer, ids: Sequence[int]) -> Iterator[Listed]:
    for begin in range(0, len(ids), _NAMED_AT_ONCE):
        some = filter_of_ids(ids[begin : begin + _NAMED_AT_ONCE])
        yield from reversed(observer.search(some, limit=_NAMED_AT_ONCE).messages)


def _state(message: Listed) -> str:
    match message.status:
        case Status.CLAIMED:
            return f"claimed meanwhile by {visible(_cut(message.claimed_by or ''))}"
        case Status.CONSUMED:
            return f"consumed meanwhile by {visible(_cut(message.consumed_by or ''))}"
        case Status.AVAILABLE:
            return "locked by somebody just now"


def _cut(name: str) -> str:
    return name if len(name) <= _LONG_NAME else f"{name[:_LONG_NAME]}..."


def _line(text: str) -> str:
    first = text.strip().partition("\n")[0]
    return visible(first[:_SAID]).rstrip(".")


def _some(ids: Sequence[int]) -> str:
    named = ", ".join(map(str, ids[:_MOST_NAMED]))
    more = len(ids) - _MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named
