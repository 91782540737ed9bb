"""Dead letters by their error: what died of one kind is looked at and redriven together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.observing.filters import StatusWord
from xclaim.observing.values import Action
from xclaim.web.letters import by_class
from xclaim.web.pages.filtering import filter_of, filter_of_letters, rights_to
from xclaim.web.routes import page

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.observing.values import Letters
    from xclaim.web.letters import OfClass
    from xclaim.web.visits import Visit

_MOST_GROUPS = 200
_ACTIONS = {Action.REDRIVE: "Redrive", Action.WITHDRAW: "Withdraw"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Dead letters to act on together. ``filter`` finds them; None: no filter can."""

    letters: Letters
    filter: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Those of a class of error, and of each of their texts; ``left`` texts are not shown."""

    group: Group
    texts: tuple[Group, ...]
    left: int


def show_dead_letters(visit: Visit) -> Response:
    """Show the dead letters of one queue or of all, the largest group first."""
    queue = visit.query("queue").removesuffix(DEAD_LETTER_SUFFIX)
    letters = visit.observer.dead_letters(queue or None)
    found = letters.groups
    groups = list(by_class(found, with_text=visit.sees_payloads))
    return visit.render(
        "dead_letters.html",
        queue=queue,
        rows=[_row(each) for each in groups[:_MOST_GROUPS]],
        left=len(groups[_MOST_GROUPS:]),
        is_complete=letters.is_complete,
        are_counted=all(each.is_complete for each in found),
        all_of_it=filter_of(queue, StatusWord.DEAD) if queue else None,
        actions=_ACTIONS,
        rights=rights_to(visit, [queue] if queue else [each.queue for each in found]),
    )


def _row(of: OfClass) -> Row:
    is_of_text = len(of.texts) == 1 and of.letters.error_class is None
    texts = () if is_of_text else tuple(map(_of_text, of.texts))
    return Row(group=_group(of.letters, with_text=is_of_text), texts=texts, left=of.left)


def _of_text(letters: Letters) -> Group:
    # Without a text they have no filter of their own: that of their class finds the others, too.
    has_text = bool((letters.first_line or "").strip())
    return _group(letters, with_text=True) if has_text else Group(letters=letters, filter=None)


def _group(letters: Letters, *, with_text: bool) -> Group:
    # Texts that are hidden are not searched either, and so their letters not chosen by them.
    of = letters if with_text else replace(letters, first_line=None)
    return Group(letters=letters, filter=filter_of_letters(of))


ROUTES = (page("/dead-letters", show_dead_letters),)
