"""Search: the way through the messages that a filter has, a number of them at a time.

Each way follows an index, the newest first. What the index does not know is tested message by
message; when 10,000 were looked at, or half of the time is over, the search stops with a cursor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.arguments import HIGHEST_ID, LOWEST_ID
from xclaim.errors import FilterError, InvalidArgumentError
from xclaim.message import Status, status_of
from xclaim.observing.excerpts import with_excerpts
from xclaim.observing.filters import (
    Filter,
    parse,
)
from xclaim.observing.places import Place, from_cursor, to_cursor
from xclaim.observing.planning import Plan, planned, readable, tests
from xclaim.observing.sending import Ask, sendable
from xclaim.observing.values import Found, Matching, Order
from xclaim.observing.walking import Search
from xclaim.sql.statements import observing_messages
from xclaim.sql.statements.observing_walks import Walk
from xclaim.verbs.unsendable import is_unsendable

T = TypeVar("T")

MOST_LOOKED_AT = 10_000
_MOST_IDS = 10_000  # of a bulk action
_MOST_LISTED = 500
_ORDERS = {
    Walk.WAITING: Order.AVAILABLE,
    Walk.HELD: Order.LEASE,
    Walk.CONSUMED: Order.CONSUMED,
}


def search(ask: Ask, timeout: timedelta, filter_: str, *, limit: int, before: str | None) -> Found:
    """Return the messages that a filter is about, in which order, and where to go on."""
    parsed = parse(filter_)
    most = arguments.whole_number("limit", limit, 1, _MOST_LISTED)
    return _sendable(ask, lambda each: _search(each, timeout, parsed, most, before))


def matching(ask: Ask, timeout: timedelta, filter_: str, *, limit: int) -> Matching:
    """Return the ids of the messages that a filter is about, by queue and status."""
    parsed = parse(filter_)
    most = arguments.whole_number("limit", limit, 1, _MOST_IDS)
    return _sendable(ask, lambda each: _matching(each, timeout, parsed, most))


def still_matching(ask: Ask, timeout: timedelta, filter_: str, ids: Iterable[int]) -> Matching:
    """Return which of these messages a filter is about; no others are looked at."""
    parsed = parse(filter_)
    wanted = {arguments.whole_number("id", id_, LOWEST_ID, HIGHEST_ID) for id_ in ids}
    if len(wanted) > _MOST_IDS:
        raise InvalidArgumentError(f"ids must be {_MOST_IDS:,} at most, not {len(wanted):,}")
    if not wanted:
        return Matching(ids={}, is_complete=True, looked_at=0)
    plan = Plan(walk=Walk.CHOSEN, ids=tuple(sorted(wanted)))
    return _sendable(ask, lambda each: _matching(each, timeout, parsed, len(wanted), plan))


def _search(ask: Ask, timeout: timedelta, filter_: Filter, limit: int, before: str | None) -> Found:
    ends_at = _half(timeout)
    with ask("which messages these are") as question:
        may = readable(question)
        plan = planned(question, filter_)
        place = from_cursor(plan.walk, before, question.dialect)
        search_ = Search(
            question=question,
            plan=plan,
            may=may,
            ends_at=ends_at,
            most=MOST_LOOKED_AT,
        )
        looked = search_.found(tests(filter_, may, question.dialect), limit, place)
    shown = with_excerpts(ask, ends_at, may, looked.rows)
    older = None if looked.place is None else to_cursor(plan.walk, looked.place)
    return Found(
        messages=shown,
        older=older,
        looked_at=looked.count,
        looked_back_to=looked.back_to,
        order=_ORDERS.get(plan.walk, Order.PUSHED),
    )


def _matching(
    ask: Ask, timeout: timedelta, filter_: Filter, limit: int, plan: Plan | None = None
) -> Matching:
    with ask("which messages these are") as question:
        may = readable(question)
        plan = plan or planned(question, filter_)
        search_ = Search(
            question=question,
            plan=plan,
            may=may,
            ends_at=_half(timeout),
            build=observing_messages.search_ids,
            most=5 * MOST_LOOKED_AT,
        )
        looked = search_.found(tests(filter_, may, question.dialect), limit, None)
    ids: dict[tuple[str, Status], list[int]] = {}
    for row in looked.rows:
        ids.setdefault((row.queue, status_of(row.status)), []).append(row.id)
    return Matching(
        ids={key: tuple(each) for key, each in ids.items()},
        is_complete=looked.place is None,
        looked_at=looked.count,
        not_looked_at=_behind(looked.place, plan.ids),
    )


def _behind(place: Place | None, ids: Sequence[int]) -> int:
    """Return how many of the ids lie behind the place where a search ended: it goes downwards."""
    if place is None:
        return 0
    return len(ids) if place.id is None else sum(id_ < place.id for id_ in ids)


def _half(timeout: timedelta) -> float:
    return time.monotonic() + timeout.total_seconds() / 2


def _sendable(ask: Ask, look: Callable[[Ask], T]) -> T:
    """Look as ``sendable`` does; what cannot be sent even so is of the filter."""
    try:
        return sendable(ask, look)
    except DBAPIError as error:
        if not is_unsendable(error):
            raise
        raise FilterError(
            "the filter has a character that the database's encoding lacks, so that no message has "
            "it: leave it out",
            0,
        ) from error
