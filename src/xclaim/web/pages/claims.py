"""Claims: who holds what, since when, and how much of the lease is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xclaim.observing.values import Action
from xclaim.web.pages.filtering import filter_of_id, rights_to
from xclaim.web.routes import page

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.responses import Response

    from xclaim.observing.values import Held
    from xclaim.web.visits import Visit

_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claim with how much of its lease has gone by: from 0 to 100."""

    held: Held
    gone: int
    filter: str


def show_claims(visit: Visit) -> Response:
    """Show the claims of one queue or of all, those whose lease is over before the others."""
    queue = visit.query("queue")
    found = visit.observer.claims(queue or None, limit=_LIMIT, after=visit.query("after") or None)
    now = visit.observer.now()  # the database's clock, which made these times
    held = sorted(found.page, key=lambda each: not each.is_lapsed)
    return visit.render(
        "claims.html",
        queue=queue,
        leases=[_lease(each, now) for each in held],
        more=None if found.next is None else {"after": found.next},
        is_first=not visit.query("after"),
        release=Action.RELEASE,
        rights=rights_to(visit, [queue] if queue else [each.queue for each in held]),
    )


def _lease(held: Held, now: datetime) -> Lease:
    return Lease(held=held, gone=_gone(held, now), filter=filter_of_id(held.id))


def _gone(held: Held, now: datetime) -> int:
    """Return how much of a lease has gone by, of one that lasts less than all of it."""
    since = held.claimed_at
    # It was asked for the time after the claims: what it said of a lapse holds.
    if held.is_lapsed or since is None or held.claim_expires_at <= since:
        return 100
    share = (now - since) / (held.claim_expires_at - since)
    return min(max(round(100 * share), 0), 99)


ROUTES = (page("/claims", show_claims),)
