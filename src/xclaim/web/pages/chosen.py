"""Redrive, withdraw and release: what a filter finds, asked about first, then done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from xclaim.errors import InvalidArgumentError
from xclaim.observing.filters import StatusWord
from xclaim.observing.values import Action
from xclaim.web import actions, selections
from xclaim.web.actions import Deed, Hand
from xclaim.web.pages.filtering import filter_of, filter_of_ids, refuse_to_probe
from xclaim.web.pages.ways_back import way_back
from xclaim.web.routes import action, page

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import Route

    from xclaim.web.forms import Form
    from xclaim.web.selections import Selection
    from xclaim.web.visits import Visit

_ALL_OF_A_QUEUE = {
    Action.REDRIVE: StatusWord.DEAD,
    Action.WITHDRAW: StatusWord.AVAILABLE,
    Action.RELEASE: StatusWord.CLAIMED,
}
_PREVIEWED = 20  # messages that are shown before an action


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """How an action is asked about."""

    button: str
    noun: str
    consequence: str
    of_one: str
    none: str


_ASKED = {
    Action.REDRIVE: _Asked(
        button="Redrive",
        noun="dead letter",
        consequence="go back to the queue they died in, can be claimed at once, and start again "
        "with no attempts counted.",
        of_one="goes back to the queue it died in, can be claimed at once, and starts again with "
        "no attempts counted.",
        none="no dead letter that could go back",
    ),
    Action.WITHDRAW: _Asked(
        button="Withdraw",
        noun="message",
        consequence="are deleted for good, with their payloads. What is claimed or consumed stays.",
        of_one="is deleted for good, with its payload.",
        none="no message that nobody has claimed",
    ),
    Action.RELEASE: _Asked(
        button="Release",
        noun="claim",
        consequence="are taken from who holds them: they come back, or are dead letters if the "
        "attempt is counted and was their last. Who worked on them cannot ack them any more.",
        of_one="is taken from who holds it: it comes back, or is a dead letter if the attempt is "
        "counted and was its last. Who worked on it cannot ack it any more.",
        none="no message that is claimed",
    ),
}


def ask(visit: Visit, what: Action) -> Response:
    """Show what the action would be done to, and ask."""
    given, limit = _filter(visit, what), selections.limit_of(visit.query("limit"))
    _check(visit, given, what)
    asked_at = visit.observer.now()
    selection = selections.select(visit.observer, what, given, limit)
    rights = visit.rights(selection.only_queue)
    visit.require(what, rights)
    back = way_back(visit.query("back"), visit.query("back_to")).url(visit)
    title, text = _title(what, selection), _text(what, selection, _only_queue(visit))
    if not selection.ids:
        return visit.render("nothing_to_do.html", title=title, text=text, back=back)
    fields = {
        "filter": given,
        "shown": selections.as_text(selection.ids),
        "asked_at": asked_at.isoformat(),
        "back": visit.query("back"),
        "back_to": visit.query("back_to"),
    }
    return visit.render(
        "act_on_chosen.html",
        page=str(what),
        button=_ASKED[what].button,
        title=title,
        text=text,
        action=what,
        selection=selection,
        limit=limit,
        most=actions.MOST,
        query={name: visit.query(name) for name in ("filter", "queue", "back", "back_to")},
        preview=_preview(visit, selection),
        fields=fields,
        back=back,
    )


def act(visit: Visit, form: Form, what: Action) -> Response:
    """Do it to what the preview showed, as far as the filter finds it still."""
    given = form.get("filter", "")
    _check(visit, given, what)
    shown = selections.from_text(form.get("shown", ""))
    selection = selections.still(visit.observer, what, given, shown)
    visit.require(what, visit.rights(selection.only_queue))
    deed = _DO[what](Hand.of(visit.person, visit.place), selection.chosen, form)
    deed.not_looked_at = selection.not_looked_at
    deed.gone = len(shown) - len(selection.ids) - selection.not_looked_at
    back = way_back(form.get("back", ""), form.get("back_to", ""))
    if what is Action.WITHDRAW and deed.done:
        back = back.without_the_message()
    return back.redirect(visit, flash=" ".join(deed.said()))


def _redrive(hand: Hand, chosen: actions.Chosen, _form: Form) -> Deed:
    return actions.redrive(hand, chosen)


def _withdraw(hand: Hand, chosen: actions.Chosen, _form: Form) -> Deed:
    return actions.withdraw(hand, chosen)


def _release(hand: Hand, chosen: actions.Chosen, form: Form) -> Deed:
    return actions.release(
        hand,
        chosen,
        claimed_until=_time(form.get("asked_at", "")),
        error=form.get("reason", "").strip() or None,
        count="uncounted" not in form,
    )


_DO: dict[Action, Callable[[Hand, actions.Chosen, Any], Deed]] = {
    Action.REDRIVE: _redrive,
    Action.WITHDRAW: _withdraw,
    Action.RELEASE: _release,
}


def _filter(visit: Visit, what: Action) -> str:
    """Return the filter of the address, or that of the queue it names: all it is for there."""
    given, queue = visit.query("filter"), visit.query("queue")
    return filter_of(queue, _ALL_OF_A_QUEUE[what]) if queue and not given else given


def _check(visit: Visit, given: str, what: Action) -> None:
    refuse_to_probe(visit, given)
    if not given.strip():
        raise InvalidArgumentError(
            f"{what} is for what a filter finds, and there is none: choose messages first"
        )


def _time(given: str) -> datetime:
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidArgumentError("the form does not say when you looked: open it again")
    return found


def _title(what: Action, selection: Selection) -> str:
    asked, count = _ASKED[what], len(selection.ids)
    if not count:
        return f"{asked.button}: {'nothing to do' if selection.is_complete else 'none found'}"
    return f"{asked.button} {_counted(count, asked.noun)}?"


def _only_queue(visit: Visit) -> str | None:
    """Return the queue whose page asked for all it is for there, None if a filter was given."""
    return None if visit.query("filter") else visit.query("queue") or None


def _text(what: Action, selection: Selection, queue: str | None) -> str:
    asked, count = _ASKED[what], len(selection.ids)
    if not count and not selection.is_complete:
        return (
            f"Among the first {selection.looked_at:,} messages that were looked at there is "
            f"{asked.none}, and the search ended there: narrow the filter, as by a queue, a status "
            "or a range of ids."
        )
    if not count and queue is not None:
        return f"{queue} has {asked.none}. It may have been done already."
    if not count:
        return f"The filter finds {asked.none}. It may have been done already."
    return f"It {asked.of_one}" if count == 1 else f"They {asked.consequence}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _preview(visit: Visit, selection: Selection) -> Sequence[Any]:
    # By their ids: what the filter finds first may be what the action is not for.
    first = filter_of_ids(selection.ids[:_PREVIEWED])
    return visit.observer.search(first, limit=_PREVIEWED).messages


def _routes(what: Action) -> tuple[Route, Route]:
    return (
        page(f"/{what}", partial(ask, what=what)),
        action(f"/{what}", partial(act, what=what)),
    )


ROUTES = tuple(route for what in _ASKED for route in _routes(what))
