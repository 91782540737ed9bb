"""Dead letters by their error: what died of the same is looked at and redriven together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.observing.filters import StatusWord
from xclaim.observing.values import Action
from xclaim.web.pages.filtering import filter_of, filter_of_letters, rights_to
from xclaim.web.routes import page

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.observing.values import Letters
    from xclaim.web.visits import Visit

_MOST_GROUPS = 200
_ACTIONS = {Action.REDRIVE: "Redrive", Action.WITHDRAW: "Withdraw"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Dead letters of the same error. ``filter`` finds them; None: nothing sets them apart."""

    letters: Letters
    filter: str | None


def show_dead_letters(visit: Visit) -> Response:
    """Show the dead letters of one queue or of all, the largest group first."""
    queue = visit.query("queue").removesuffix(DEAD_LETTER_SUFFIX)
    letters = visit.observer.dead_letters(queue or None)
    found = letters.groups
    groups = [
        Group(letters=each, filter=filter_of_letters(each))
        for each in sorted(found, key=lambda each: (-each.count, each.queue))
    ]
    return visit.render(
        "dead_letters.html",
        queue=queue,
        groups=groups[:_MOST_GROUPS],
        left=len(groups[_MOST_GROUPS:]),
        is_complete=letters.is_complete,
        are_counted=all(each.is_complete for each in found),
        all_of_it=filter_of(queue, StatusWord.DEAD) if queue else None,
        actions=_ACTIONS,
        rights=rights_to(visit, [queue] if queue else [each.queue for each in found]),
    )


ROUTES = (page("/dead-letters", show_dead_letters),)
