"""Which messages an action is about: what a filter finds, as the preview showed it.

The ids of the preview travel in its form, so that nothing is done to a message that nobody saw
counted. They are no secret and no permission: of them, what the filter finds still is acted on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xclaim.arguments import DEAD_LETTER_SUFFIX, HIGHEST_ID, LOWEST_ID
from xclaim.errors import FilterError, InvalidArgumentError
from xclaim.message import Status
from xclaim.observing.filters import OfStatus, StatusWord, parse
from xclaim.observing.values import Action
from xclaim.web.actions import MOST, Chosen

if TYPE_CHECKING:
    from xclaim.observing import Observer
    from xclaim.observing.values import Matching

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_USUAL = 1_000
# What can be withdrawn has several: it waits now or later, or is a dead letter.
_STATUS = {Action.REDRIVE: StatusWord.DEAD, Action.RELEASE: StatusWord.CLAIMED}
_UNREADABLE = "the preview of this form cannot be read: look again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a filter finds that an action can be done to.

    ``others``: how many more it finds that the action is not for, or ``others_at_least`` so many.
    ``is_complete``: it found all, among the messages that were ``looked_at``. ``not_looked_at``:
    for how many that the preview had there was no time.
    """

    chosen: Chosen
    others: int
    others_at_least: bool
    is_complete: bool
    looked_at: int
    not_looked_at: int

    @property
    def ids(self) -> list[int]:
        """The ids, of all queues."""
        return [id_ for ids in self.chosen.values() for id_ in ids]

    @property
    def only_queue(self) -> str | None:
        """The queue that all of them are of, dead letters too; None if there are none or more."""
        names = {name.removesuffix(DEAD_LETTER_SUFFIX) for name in self.chosen}
        return names.pop() if len(names) == 1 else None


def select(observer: Observer, action: Action, filter_: str, limit: int) -> Selection:
    """Return what the filter finds now, as far as the action can be done to it.

    Where that is nothing, because the search ended among other messages, those that the action is
    for are looked for alone.
    """
    found = _selected(observer.matching(filter_, limit=limit), action)
    narrowed = _narrowed(filter_, action)
    if found.ids or found.is_complete or narrowed is None:
        return found
    again = _selected(observer.matching(narrowed, limit=limit), action)
    looked_at = found.looked_at + again.looked_at
    return replace(again, others=found.others, others_at_least=True, looked_at=looked_at)


def still(observer: Observer, action: Action, filter_: str, shown: frozenset[int]) -> Selection:
    """Return of what a preview has shown that to which the action can be done now.

    What the filter finds beside it is not looked at: however much that is, it cannot come between.
    """
    return _selected(observer.still_matching(filter_, shown), action)


def _narrowed(filter_: str, action: Action) -> str | None:
    """Return the filter with the status that the action is for; None where there is no such."""
    word = _STATUS.get(action)
    if word is None:
        return None
    term = OfStatus(word=word)
    narrowed = f"{term} {filter_}"
    try:
        parse(narrowed)
    except FilterError:  # it is too long then
        return None
    return None if term in parse(filter_).terms else narrowed


def _selected(found: Matching, action: Action) -> Selection:
    chosen: dict[str, list[int]] = {}
    others = 0
    for (queue, status), ids in found.ids.items():
        if is_for(action, queue, status):
            chosen.setdefault(queue, []).extend(ids)
        else:
            others += len(ids)
    return Selection(
        chosen=chosen,
        others=others,
        others_at_least=not found.is_complete,
        is_complete=found.is_complete,
        looked_at=found.looked_at,
        not_looked_at=found.not_looked_at,
    )


def limit_of(given: str) -> int:
    """Return how many messages at most, from a field of an address or form."""
    if not given:
        return _USUAL
    if not given.isdecimal() or not given.isascii() or not 1 <= int(given[:9]) <= MOST:
        raise InvalidArgumentError(f"the limit must be a whole number from 1 to {MOST:,}")
    return int(given[:9])


def as_text(ids: Iterable[int]) -> str:
    """Return ids as text for a form: each as its distance from the one before, in base 36."""
    parts, last = [], 0
    for id_ in sorted(ids):
        parts.append(_base_36(id_ - last))
        last = id_
    return ".".join(parts)


def from_text(text: str) -> frozenset[int]:
    """Return the ids of a form. Raise InvalidArgumentError for what ``as_text`` has not made."""
    ids, last = [], 0
    parts = text.split(".") if text else []
    if len(parts) > MOST:
        raise InvalidArgumentError(f"the preview has more than {MOST:,} messages: look again")
    for part in parts:
        try:
            last += int(part[:20], 36)
        except ValueError:
            raise InvalidArgumentError(_UNREADABLE) from None
        ids.append(last)
    if any(not LOWEST_ID <= id_ <= HIGHEST_ID for id_ in ids):
        raise InvalidArgumentError(_UNREADABLE)
    return frozenset(ids)


def _base_36(number: int) -> str:
    sign = "-" if number < 0 else ""
    number, digits = abs(number), ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return sign + digits


def is_for(action: Action, queue: str, status: Status) -> bool:
    """Return whether the action can be done to messages of this queue and status."""
    match action:
        case Action.REDRIVE:
            return status is Status.AVAILABLE and queue.endswith(DEAD_LETTER_SUFFIX)
        case Action.WITHDRAW:
            return status is Status.AVAILABLE
        case Action.RELEASE:
            return status is Status.CLAIMED
        case _:
            raise ValueError(f"{action} is not done to chosen messages")
