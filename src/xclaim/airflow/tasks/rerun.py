"""What a task that was cleared and runs again does with what it pushed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, Any

from xclaim.errors import InvalidArgumentError

if TYPE_CHECKING:
    from xclaim import Message, Queue
    from xclaim.airflow.tasks.identity import TaskIdentity

_PROBED = 1000  # keys that are looked for at a time


class OnRerun(StrEnum):
    """What the pushes of a cleared and rerun task do; a retry pushes nothing twice in any case.

    ``SKIP``: what was pushed stays, consumed or not, and is returned; another payload is refused.
    ``REPLACE_UNCONSUMED``: what nobody has claimed yet is withdrawn and pushed anew; what is being
    worked on, or was consumed, stays and is returned. ``NEW``: everything is pushed again.
    """

    SKIP = "skip"
    REPLACE_UNCONSUMED = "replace_unconsumed"
    NEW = "new"


def checked_policy(value: str, *, is_automatic: bool) -> OnRerun:
    """Return the policy. Raise InvalidArgumentError if there is none of that name.

    :param is_automatic: whether it can be used: it is about the automatic unique key.
    """
    try:
        policy = OnRerun(value)
    except ValueError as error:
        names = ", ".join(OnRerun)
        raise InvalidArgumentError(f"on_rerun is one of {names}, not {value!r}") from error
    if policy is not OnRerun.SKIP and not is_automatic:
        raise InvalidArgumentError(
            f"on_rerun={policy.value!r} needs the automatic unique key: with keys of your own, or "
            "none, these say what a rerun pushes"
        )
    return policy


def replace_unconsumed(
    queue: Queue,
    task: TaskIdentity,
    numbers: range,
    payloads: Sequence[Any],
    options: Mapping[str, Any],
) -> list[Message]:
    """Push what is not under its key already. With the first push, withdraw what is available.

    ``queue`` is in a transaction, so that nobody sees the one without the other.
    """
    from xclaim.verbs import listed  # a DAG file imports this module

    keys = [task.unique_key(number) for number in numbers]
    if numbers.start == 0:
        _withdraw_all(queue, task)
    else:
        queue.withdraw(keys)  # the first push may have had another policy
    kept = {message.unique_key: message for message in queue.find(keys)}
    lines = options["ordering_keys"]
    lines = [None] * len(keys) if lines is None else listed("ordering_keys", lines)
    given = zip(keys, payloads, lines, strict=True)
    fresh = [each for each in given if each[0] not in kept]
    pushed = queue.push_many(
        [payload for _, payload, _ in fresh],
        unique_keys=[key for key, _, _ in fresh],
        **{**options, "ordering_keys": [line for _, _, line in fresh]},
    )
    by_key = kept | {message.unique_key: message for message in pushed}
    return [by_key[key] for key in keys]


def _withdraw_all(queue: Queue, task: TaskIdentity) -> None:
    for start in count(0, _PROBED):
        keys = [task.unique_key(number) for number in range(start, start + _PROBED)]
        if not queue.withdraw(keys) and not queue.find(keys):
            return
