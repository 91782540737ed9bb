"""Messages: those that a filter finds, and what can be done to all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from xclaim.arguments import visible
from xclaim.errors import FilterError
from xclaim.observing.filters import StatusWord
from xclaim.observing.values import Action, Order
from xclaim.web.pages.filtering import refuse_to_probe, rights_to
from xclaim.web.parts import Part, part_of
from xclaim.web.routes import page
from xclaim.web.selections import is_for

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.observing.values import Found, Rights
    from xclaim.web.visits import Visit

_LIMIT = 50
_LONGEST = 2_000  # characters of what is completed
_ACTIONS = {
    Action.REDRIVE: "Redrive",
    Action.RELEASE: "Release",
    Action.WITHDRAW: "Withdraw",
}
_ORDERS = {
    Order.PUSHED: "Messages, the newest first",
    Order.AVAILABLE: "Messages by queue and priority, the latest to become available first",
    Order.LEASE: "Messages by queue, the lease that ends last first",
    Order.CONSUMED: "Messages by queue, the one consumed last first",
}
EXAMPLES = (
    ("status:dead", "dead letters"),
    ("status:retrying", "what failed and is tried again"),
    ("status:lapsed", "claims whose lease is over"),
    ("by:worker-7*", "held or consumed by a worker"),
    ("payload.customer.id:17", "a value in the payload"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """What is wrong with a filter, and what stands before and after that place."""

    problem: str
    before: str
    after: str
    place: int


def show_messages(visit: Visit) -> Response:
    """Show messages. A filter that cannot be read is shown with the place that is wrong."""
    given = visit.query("filter")
    before = visit.query("before") or None
    try:
        refuse_to_probe(visit, given)
        found = visit.observer.search(given, limit=_LIMIT, before=before)
    except FilterError as error:
        place = min(max(error.position, 0), len(given))
        wrong = Wrong(
            problem=str(error),
            before=given[:place][-80:],
            after=given[place:][:80],
            place=place + 1,
        )
        return _page(visit, given, wrong=wrong, status=400)
    return _page(visit, given, found=found)


def complete(visit: Visit) -> Response:
    """Return how what is typed into the filter can go on, for the script."""
    return JSONResponse(
        [{"text": text, "says": says} for text, says in _completions(visit, visit.query("text"))]
    )


def _page(
    visit: Visit,
    given: str,
    *,
    found: Found | None = None,
    wrong: Wrong | None = None,
    status: int = 200,
) -> Response:
    return visit.render(
        "messages.html",
        status=status,
        given=given,
        found=found,
        caption=_ORDERS[found.order] if found else "",
        wrong=wrong,
        is_first=not visit.query("before"),
        completions=_completions(visit, given),
        examples=EXAMPLES,
        statuses=tuple(StatusWord),
        actions=_actions(found),
        rights=_rights(visit, found) if given.strip() else None,
    )


def _rights(visit: Visit, found: Found | None) -> Part[Rights]:
    return rights_to(visit, () if found is None else (each.queue for each in found.messages))


def _actions(found: Found | None) -> list[tuple[Action, str]]:
    """Return what can be done to some of the messages that are shown."""
    shown = () if found is None else found.messages
    return [
        (action, text)
        for action, text in _ACTIONS.items()
        if any(is_for(action, each.queue, each.status) for each in shown)
    ]


def _completions(visit: Visit, text: str) -> list[tuple[str, str]]:
    """Return whole filters that the text can become, and what is new in each, to be shown."""
    if len(text) > _LONGEST:
        return []
    found = part_of(lambda: visit.observer.completions(text)).value or []
    return [(text[: each.position] + each.text, visible(each.says or each.text)) for each in found]


ROUTES = (page("/messages", show_messages), page("/completions", complete))
