"""All queues, what needs somebody first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from starlette.responses import JSONResponse

from xclaim.observing.values import Verdict
from xclaim.web.cells import Cells, cells_of, flow_cells
from xclaim.web.live import Topic
from xclaim.web.routes import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine
    from starlette.responses import Response

    from xclaim.observing.values import Count, QueueSummary
    from xclaim.web.live import Poll
    from xclaim.web.places import Place
    from xclaim.web.visits import Visit

LIMIT = 200
_MOST_FLOWS = 50
_FLOW_LASTS = 5.0  # seconds: many browsers look at the same rows
_MOST_KEPT = 2_000
_URGENCY = (Verdict.FAILING, Verdict.STALLED, Verdict.PAUSED, Verdict.RUNNING, Verdict.IDLE)
_NEVER = timedelta(-1)
_Kept = dict[tuple[str | None, str], tuple[float, Cells]]  # by schema and name, with the time
_SORTED_BY = {
    "name": lambda queue: queue.name,
    "verdict": lambda queue: -_URGENCY.index(queue.verdict),
    "available": lambda queue: _size(queue.available),
    "delayed": lambda queue: _size(queue.delayed),
    "retrying": lambda queue: _size(queue.retrying),
    "claimed": lambda queue: _size(queue.claimed),
    "lapsed": lambda queue: _size(queue.lapsed),
    "dead": lambda queue: _size(queue.dead),
    "oldest_waiting": lambda queue: queue.oldest_waiting or _NEVER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorts:
    """By what a table is sorted, and the links of its columns that sort it otherwise.

    ``query`` is what those links keep of the address.
    """

    page: str
    query: dict[str, Any]
    by: str
    is_ascending: bool
    keys: frozenset[str]

    def next(self, key: str) -> str:
        """Return the field `sort` of a column's link: numbers begin with the largest."""
        if key != self.by:
            return key if key == "name" else f"-{key}"
        return f"-{key}" if self.is_ascending else key


def show_queues(visit: Visit) -> Response:
    """Show the queues of the place, some at a time, in the order that was asked for."""
    found = _found(visit)
    sort = visit.query("sort")
    by = sort.removeprefix("-")
    sorts = Sorts(
        page="queues",
        query={"named": visit.query("named"), "after": visit.query("after")},
        by=by if by in _SORTED_BY else "",
        is_ascending=not sort.startswith("-"),
        keys=frozenset(_SORTED_BY),
    )
    return visit.render(
        "queues.html",
        queues=_ordered(found, sorts),
        cells={name: cell for queue in found for name, cell in cells_of(queue).items()},
        sorts=sorts,
        after=max(queue.name for queue in found) if len(found) == LIMIT else None,
        limit=LIMIT,
    )


def show_flows(visit: Visit) -> Response:
    """Return the cells of the flow of some queues, those that are in view in a browser.

    And nothing that the stream tells of them: what comes last is shown, and that may be older.
    """
    names = visit.request.query_params.getlist("name")[:_MOST_FLOWS]
    flows: Flows = visit.request.app.state.flows
    return JSONResponse(flows.cells(visit, list(dict.fromkeys(names))))


def watch_queues(visit: Visit) -> Poll:
    """Return what asks for the cells of the page, and for the names that it should have."""

    def poll() -> Cells:
        found = _found(visit)
        cells = {name: cell for queue in found for name, cell in cells_of(queue).items()}
        return cells | {"names": {"names": [queue.name for queue in found]}}

    return poll


def _found(visit: Visit) -> list[QueueSummary]:
    return visit.observer.queues(
        named=visit.query("named").strip(), after=visit.query("after") or None, limit=LIMIT
    )


def _ordered(queues: Sequence[QueueSummary], sorts: Sorts) -> list[QueueSummary]:
    by_urgency = sorted(queues, key=lambda queue: (_URGENCY.index(queue.verdict), queue.name))
    if not sorts.by:
        return by_urgency
    return sorted(by_urgency, key=_SORTED_BY[sorts.by], reverse=not sorts.is_ascending)


def _size(count: Count) -> int:
    return count.at_least if count.estimate is None else max(count.at_least, count.estimate)


class Flows:
    """Flows that were asked for moments ago, for all browsers that show the same rows.

    Of an engine that is gone nothing is kept.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: WeakKeyDictionary[Engine, _Kept] = WeakKeyDictionary()

    def cells(self, visit: Visit, names: Sequence[str]) -> Cells:
        """Return the cells of the flow of these queues."""
        now, schema = time.monotonic(), visit.place.schema
        with self._lock:
            kept = self._kept.setdefault(visit.place.engine, {})
            found = {
                name: kept[schema, name]
                for name in names
                if (schema, name) in kept and now - kept[schema, name][0] < _FLOW_LASTS
            }
        missing = [name for name in names if name not in found]
        if missing:
            flows = visit.observer.flows(missing)
            # The list, of which the stream tells, remembers it under its glance at each queue.
            visit.observer.closely(missing)
            fresh = {name: (now, flow_cells(name, flow)) for name, flow in flows.items()}
            with self._lock:
                if len(kept) > _MOST_KEPT:
                    kept.clear()
                kept |= {(schema, name): value for name, value in fresh.items()}
            found |= fresh
        return {key: cell for _, cells in found.values() for key, cell in cells.items()}

    def forget(self, place: Place) -> None:
        """Ask anew at the next time: what was seen closely in the place is forgotten, too."""
        with self._lock:
            self._kept.pop(place.engine, None)


ROUTES = (page("/", show_queues), page("/queues", show_queues), page("/flows", show_flows))
TOPICS = {"queues": Topic(watch_queues, ("named", "after"))}
