"""Pause and unpause a queue, and give back what its lapsed claims hold: each asked about first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xclaim.errors import InvalidArgumentError
from xclaim.observing.values import Action
from xclaim.web import actions
from xclaim.web.actions import Hand
from xclaim.web.failures import PageNotFoundError
from xclaim.web.formats import count as counted
from xclaim.web.pages.ways_back import way_back
from xclaim.web.routes import action, page

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.observing.values import QueueSummary
    from xclaim.web.forms import Form
    from xclaim.web.visits import Visit

_MOST_OF_A_REASON = 1_000


def ask_pause(visit: Visit) -> Response:
    """Ask whether the queue is to hand out nothing, and why."""
    queue = _queue(visit, Action.PAUSE)
    if queue.pause is not None:
        return _nothing(visit, queue, "It is paused already.", "Pause")
    return _confirm(
        visit,
        queue,
        "pause.html",
        page="pause",
        button="Pause",
        title=f"Pause {queue.name}?",
        text="Within a second nothing of it is handed out any more. What is claimed already is "
        "finished, and pushing goes on.",
    )


def pause(visit: Visit, form: Form) -> Response:
    """Pause the queue."""
    name, hand = _acting(visit, form, Action.PAUSE)
    reason = form.get("reason", "").strip() or None
    if reason is not None and len(reason) > _MOST_OF_A_REASON:
        raise InvalidArgumentError("the reason has more than 1,000 characters: shorten it")
    actions.pause(hand, name, reason)
    return _back(visit, form, name, f"{name} is paused: it hands out nothing until it is unpaused.")


def ask_unpause(visit: Visit) -> Response:
    """Ask whether the queue is to hand out messages again."""
    queue = _queue(visit, Action.PAUSE)
    if queue.pause is None:
        return _nothing(visit, queue, "It is not paused.", "Unpause")
    since = f"{queue.pause.paused_at:%Y-%m-%d %H:%M:%S} UTC"
    why = f" ({queue.pause.reason})" if queue.pause.reason else ""
    return _confirm(
        visit,
        queue,
        "confirm.html",
        page="unpause",
        button="Unpause",
        title=f"Unpause {queue.name}?",
        text=f"Paused since {since} by {queue.pause.paused_by}{why}. Its messages can be claimed "
        "again at once.",
        paused_at=queue.pause.paused_at.isoformat(),
    )


def unpause(visit: Visit, form: Form) -> Response:
    """Let the queue hand out messages again, if it is still the pause that was shown."""
    name, hand = _acting(visit, form, Action.PAUSE)
    queue = visit.observer.queue(name)
    if queue is None or queue.pause is None:
        return _back(visit, form, name, f"{name} was not paused any more: nothing was done.")
    if queue.pause.paused_at.isoformat() != form.get("paused_at"):
        said = f"{queue.pause.paused_by} has paused {name} anew meanwhile: nothing was done."
        return _back(visit, form, name, said)
    actions.unpause(hand, name)
    return _back(visit, form, name, f"{name} hands out messages again.")


def ask_expire(visit: Visit) -> Response:
    """Ask whether the messages of lapsed claims are to be given back."""
    queue = _queue(visit, Action.EXPIRE)
    if not queue.lapsed.at_least:
        return _nothing(visit, queue, "No lease of it has run out.", "Expire")
    return _confirm(
        visit,
        queue,
        "confirm.html",
        page="expire",
        button="Give back",
        title=f"Give back what lapsed claims of {queue.name} hold?",
        text=f"Now there are {counted(queue.lapsed)}. They have failed: they come back after a "
        "pause that began with their claim, or are dead letters if their attempts are used up.",
    )


def expire(visit: Visit, form: Form) -> Response:
    """Give back what lapsed claims hold."""
    name, hand = _acting(visit, form, Action.EXPIRE)
    deed = actions.expire(hand, name)
    return _back(visit, form, name, " ".join(deed.said()))


def _queue(visit: Visit, what: Action) -> QueueSummary:
    name = visit.query("queue")
    visit.require(what, visit.rights(name))
    queue = visit.observer.queue(name)
    if queue is None:
        raise PageNotFoundError(f"there is no queue {name!r} here: choose another")
    return queue


def _acting(visit: Visit, form: Form, what: Action) -> tuple[str, Hand]:
    name = form.get("queue", "")
    visit.require(what, visit.rights(name))
    return name, Hand.of(visit.person, visit.place)


def _confirm(
    visit: Visit,
    queue: QueueSummary,
    template: str,
    *,
    page: str,
    button: str,
    title: str,
    text: str,
    **fields: str,
) -> Response:
    back, back_to = visit.query("back") or "queue", visit.query("back_to") or queue.name
    return visit.render(
        template,
        page=page,
        button=button,
        title=title,
        text=text,
        fields={"queue": queue.name, "back": back, "back_to": back_to, **fields},
        back=way_back(back, back_to).url(visit),
    )


def _nothing(visit: Visit, queue: QueueSummary, text: str, title: str) -> Response:
    back = way_back("queue", queue.name).url(visit)
    return visit.render(
        "nothing_to_do.html", title=f"{title} {queue.name}: nothing to do", text=text, back=back
    )


def _back(visit: Visit, form: Form, name: str, said: str) -> Response:
    back, to = form.get("back") or "queue", form.get("back_to") or name
    return way_back(back, to).redirect(visit, flash=said)


ROUTES = (
    page("/pause", ask_pause),
    action("/pause", pause),
    page("/unpause", ask_unpause),
    action("/unpause", unpause),
    page("/expire", ask_expire),
    action("/expire", expire),
)
