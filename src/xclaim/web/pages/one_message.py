"""One message: what it is, what happened to it, and what can be done about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from xclaim.arguments import DEAD_LETTER_SUFFIX, HIGHEST_ID, LOWEST_ID, is_id_text
from xclaim.message import Status
from xclaim.observing.values import Action
from xclaim.sql.revision import qualified
from xclaim.sql.schema import TABLE_NAME
from xclaim.verbs.execution import schema_on
from xclaim.web.failures import PageNotFoundError
from xclaim.web.pages.filtering import filter_of_id
from xclaim.web.parts import part_of
from xclaim.web.routes import page

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.observing.values import Life, Listed
    from xclaim.web.visits import Visit


def show_message(visit: Visit) -> Response:
    """Show a message. What is hidden from the person is not in the page."""
    given = visit.query("id").strip()
    life = _life(visit, given)
    if life is None:
        raise PageNotFoundError(
            f"there is no message {given[:40]!r} here: it was pruned or withdrawn, or this role "
            "does not see it"
        )
    message = life.message
    schema = schema_on(visit.place.engine, visit.place.schema)
    table = qualified(TABLE_NAME, schema)
    return visit.render(
        "message.html",
        life=life,
        message=message,
        filter_of_it=filter_of_id(message.id),
        actions=_actions(message),
        rights=part_of(lambda: visit.rights(message.queue.removesuffix(DEAD_LETTER_SUFFIX))),
        python=_python(message, schema),
        sql=f"SELECT * FROM {table} WHERE id = {message.id};",  # noqa: S608  (to be copied)
    )


def _life(visit: Visit, given: str) -> Life | None:
    if not is_id_text(given) or not LOWEST_ID <= int(given) <= HIGHEST_ID:
        return None
    return visit.observer.message(int(given))


def _actions(message: Listed) -> list[tuple[Action, str]]:
    """Return what can be done to a message as it is now."""
    match message.status:
        case Status.CLAIMED:
            return [(Action.RELEASE, "Release the claim")]
        case Status.AVAILABLE if message.is_dead:
            return [(Action.REDRIVE, "Redrive"), (Action.WITHDRAW, "Withdraw")]
        case Status.AVAILABLE:
            return [(Action.WITHDRAW, "Withdraw")]
        case Status.CONSUMED:
            return []


def _python(message: Listed, schema: str | None) -> str:
    where = "" if schema is None else f", schema={_literal(schema)}"
    return f"Queue({_literal(message.queue)}, url{where}).get({message.id})"


def _literal(text: str) -> str:
    """Return text as Python writes it, in double quotes and ASCII."""
    # JSON's quotes and escapes are Python's, but for its two halves of what is beyond U+FFFF.
    return json.dumps(text, ensure_ascii=False).encode("ascii", "backslashreplace").decode()


ROUTES = (page("/message", show_message),)
