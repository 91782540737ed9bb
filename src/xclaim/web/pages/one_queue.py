"""One queue: how it does, what fails, who holds what, and what can be done about it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from xclaim.observing.filters import StatusWord
from xclaim.observing.values import Action, Charted
from xclaim.web.cells import Cells, cells_of
from xclaim.web.charts import bars_of
from xclaim.web.failures import PageNotFoundError
from xclaim.web.letters import by_class
from xclaim.web.live import Topic
from xclaim.web.pages.filtering import filter_of
from xclaim.web.parts import Part, part_of
from xclaim.web.routes import page

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.observing.values import QueueSummary
    from xclaim.web.charts import Bars
    from xclaim.web.letters import OfClass
    from xclaim.web.live import Poll
    from xclaim.web.visits import Visit

_SPANS = {
    "1h": ("the last hour", timedelta(hours=1)),
    "24h": ("the last 24 hours", timedelta(hours=24)),
    "7d": ("the last 7 days", timedelta(days=7)),
}
_USUAL = "1h"
_WORDS = {
    Charted.CONSUMED: ("Consumed", "consumed"),
    Charted.PUSHED: ("Pushed", "pushed"),
    Charted.DIED: ("New dead letters", "became dead letters"),
}
_LISTED = 10
# Of the whole queue; what is done to one message is offered where that is shown.
_ACTIONS = {
    Action.PUSH: ("push", "Push a message"),
    Action.REDRIVE: ("redrive", "Redrive dead letters"),
    Action.EXPIRE: ("expire", "Give lapsed claims back"),
}


def show_queue(visit: Visit) -> Response:
    """Show a queue; what cannot be asked in time is left out, and said."""
    queue = _asked_for(visit)
    name, observer = queue.name, visit.observer
    failing = filter_of(name, StatusWord.RETRYING)
    span = visit.query("span") if visit.query("span") in _SPANS else _USUAL
    return visit.render(
        "queue.html",
        queue=queue,
        cells=cells_of(queue),
        rights=part_of(lambda: visit.rights(name)),
        actions=_actions(visit, queue),
        spans=_SPANS,
        span=span,
        charts=[_chart(visit, name, what, span) for what in Charted],
        failing=part_of(lambda: observer.search(failing, limit=_LISTED)),
        filter_of_failing=failing,
        letters=part_of(lambda: _letters(visit, name)),
        claims=part_of(lambda: observer.claims(name, limit=_LISTED)),
        listed=_LISTED,
    )


def watch_queue(visit: Visit) -> Poll:
    """Return what asks for the cells of the page of a queue."""

    def poll() -> Cells:
        return cells_of(_asked_for(visit))

    return poll


def _asked_for(visit: Visit) -> QueueSummary:
    name = visit.query("name")
    queue = visit.observer.queue(name) if name else None
    if queue is None:
        raise PageNotFoundError(
            f"there is no queue {name!r} here: it has no message, not even a consumed one"
        )
    return queue


def _actions(visit: Visit, queue: QueueSummary) -> list[tuple[Action, str, str, str | None]]:
    """Return what the page offers: the action, its page, its name, and why not."""
    pause = (
        ("pause", "Pause the queue") if queue.pause is None else ("unpause", "Unpause the queue")
    )
    offered = {**_ACTIONS, Action.PAUSE: pause}
    return [
        (action, path, text, _nothing_to_do(queue, action))
        for action, (path, text) in offered.items()
        if visit.has(path)
    ]


def _nothing_to_do(queue: QueueSummary, action: Action) -> str | None:
    """Return why there is nothing to do, None if there is."""
    if action is Action.REDRIVE and not queue.dead.at_least:
        return "there are no dead letters"
    if action is Action.EXPIRE and not queue.lapsed.at_least:
        return "no claim has lapsed"
    return None


def _letters(visit: Visit, name: str) -> list[OfClass]:
    found = visit.observer.dead_letters(name).groups
    return list(by_class(found, with_text=visit.sees_payloads))


def _chart(visit: Visit, name: str, what: Charted, span: str) -> tuple[str, Part[Bars]]:
    title, word = _WORDS[what]
    length = _SPANS[span][1]
    return title, part_of(lambda: bars_of(visit.observer.chart(name, what, length), word))


ROUTES = (page("/queue", show_queue),)
TOPICS = {"queue": Topic(watch_queue, ("name",))}
