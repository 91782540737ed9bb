"""Push one message: a form that keeps what was typed, and says at each field what is wrong."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from xclaim.observing.values import Action
from xclaim.web import pushes
from xclaim.web.actions import Hand
from xclaim.web.pages.ways_back import way_back
from xclaim.web.pushes import FieldsError
from xclaim.web.routes import action, page

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.web.forms import Form
    from xclaim.web.visits import Visit

_UNPROCESSABLE = 422
_MOST_BYTES = 4 * 1024 * 1024  # of a form, whose payload is encoded: larger is for a program
_FIELDS = {
    "queue": "Queue",
    "payload": "Payload",
    "unique_key": "Unique key",
    "ordering_key": "Ordering key",
    "priority": "Priority",
    "delay": "Delay",
    "max_attempts": "Attempts",
}


def ask(visit: Visit) -> Response:
    """Show the form, for a queue if one is named."""
    queue = visit.query("queue")
    visit.require(Action.PUSH, visit.rights(queue or None))
    given = {"queue": queue, "form_key": secrets.token_hex(8)}
    return _form(visit, given, {}, back_to=queue)


def push(visit: Visit, form: Form) -> Response:
    """Push it and show the message, or the form again with what is wrong."""
    queue = form.get("queue", "")
    visit.require(Action.PUSH, visit.rights(queue or None))
    try:
        hand = Hand.of(visit.person, visit.place)
        pushed = pushes.push(hand, pushes.read(form), compares=visit.sees_payloads)
    except FieldsError as error:
        return _form(visit, form, error.errors, back_to=queue, status=_UNPROCESSABLE)
    said = f"Pushed message {pushed.message.id}."
    if pushed.was_there:
        said = f"Message {pushed.message.id} was there already under this key: nothing was pushed."
    return visit.redirect("message", flash=said, id=pushed.message.id)


def _form(
    visit: Visit,
    given: Mapping[str, str],
    errors: Mapping[str, str],
    *,
    back_to: str,
    status: int = 200,
) -> Response:
    back = way_back("queue" if back_to else "queues", back_to).url(visit)
    return visit.render(
        "push.html",
        status=status,
        given=given,
        errors=errors,
        fields=_FIELDS,
        units=pushes.UNITS,
        back=back,
    )


ROUTES = (page("/push", ask), action("/push", push, most_bytes=_MOST_BYTES))
