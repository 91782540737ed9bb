"""What both facades need to present a verb as a method of a queue."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from typing import TypeVar

from xclaim.errors import InvalidArgumentError
from xclaim.message import Claim

Method = TypeVar("Method", bound=Callable[..., object])

_BOUND = {
    "connection",
    "queue",
    "schema",
    "notify",
    "after",
    "removed",
}  # what the queue knows and its methods do not ask for
NO_WAIT_ON_A_CONNECTION = (
    "wait needs a queue bound to an engine: on a connection it would keep your transaction open"
)

logger = logging.getLogger("xclaim")


def documented_as(verb: Callable[..., object], method: Method) -> Method:
    """Return the method with the verb's name, text and signature, as far as callers pass it."""
    update_wrapper(method, verb)
    del method.__wrapped__  # type: ignore[attr-defined]  # inspect would show the verb's signature
    signature = inspect.signature(verb)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    asked = [item for name, item in signature.parameters.items() if name not in _BOUND]
    method.__signature__ = signature.replace(parameters=[own, *asked])  # type: ignore[attr-defined]
    return method


def check_queue(name: str, claims: Iterable[object]) -> None:
    """Raise InvalidArgumentError if a claim is of another queue; a wrong type is the verb's."""
    for claim in claims:
        if isinstance(claim, Claim) and claim.message.queue != name:
            raise InvalidArgumentError(
                f"message {claim.message.id} was claimed from queue {claim.message.queue!r}, "
                f"not from {name!r}: settle it with Queue({claim.message.queue!r}, ...)"
            )


def reason(error: BaseException) -> str:
    """Return the last_error of a message whose work raised."""
    return f"{type(error).__name__}: {error}"


def note_failed_release(error: BaseException, claims: Sequence[Claim], cause: Exception) -> None:
    """Keep the work's own error, and say that the messages come back only after their lease."""
    ids = ", ".join(str(claim.message.id) for claim in claims)
    error.add_note(f"xclaim could not release message {ids}: {cause}")
    logger.warning(
        "message %s was not released and comes back after its lease", ids, exc_info=cause
    )
