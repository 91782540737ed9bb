"""All queues, what needs somebody first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xclaim.observing.values import Verdict
from xclaim.web.routes import page

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.observing.values import QueueSummary
    from xclaim.web.visits import Visit

_URGENCY = (Verdict.FAILING, Verdict.STALLED, Verdict.PAUSED, Verdict.RUNNING, Verdict.IDLE)
_LIMIT = 200


def show_queues(visit: Visit) -> Response:
    """Show the queues of the place."""
    found = visit.observer.queues(
        named=visit.query("named"), after=visit.query("after") or None, limit=_LIMIT
    )
    return visit.render("queues.html", queues=sorted(found, key=_urgency), limit=_LIMIT)


def _urgency(queue: QueueSummary) -> tuple[int, str]:
    return _URGENCY.index(queue.verdict), queue.name


ROUTES = (page("/", show_queues), page("/queues", show_queues))
