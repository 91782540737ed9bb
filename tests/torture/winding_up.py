"""What a consumer that was cancelled or interrupted has left in the table."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine, event, text

from tests.torture.consumer import Consumer
from tests.torture.logs import EXPECTED, Event

_LOOKS, _PAUSE = 50, 0.2  # seconds between two looks while the database is away
# The first condition is that of an index.
_LEFT = text(
    "SELECT claim_token, id FROM xclaim_message"
    " WHERE claim_expires_at IS NOT NULL AND claimed_by = ANY(:claimants)"
)


class Errors:
    """How many errors the database, or the way to it, has given this process so far."""

    def __init__(self) -> None:
        self._count = 0
        event.listen(Engine, "handle_error", self._note)

    def __call__(self) -> int:
        return self._count

    def _note(self, context: Any) -> None:
        self._count += isinstance(context.original_exception, Exception)


def look_back(worker: Consumer) -> None:
    """Log what is left of the worker's turn, if that was cut short.

    What is left after an error of the database may have been claimed without an answer, or could
    not be given back: the checker does not judge it. Nor is it logged after a second Ctrl-C, which
    can strike in the instant before the library has taken note of the first.
    """
    if worker.cuts != 1:
        return
    errors = worker.errors_of_turn()
    for _ in range(_LOOKS):
        try:
            with worker.engine.connect() as connection:
                rows = connection.execute(_LEFT, {"claimants": worker.claimants}).all()
        except EXPECTED:
            time.sleep(_PAUSE)
            continue
        worker.log.write(
            Event.WOUND_UP,
            left={str(token): id_ for token, id_ in rows},
            held=[str(claim.token) for claim in worker.own],
            finished=[str(claim.token) for claim in worker.finished],
            errors=errors,
        )
        return
