"""What a push does that finds its queue full: raise, wait for room, or leave out what is new.

A verb holds a connection, and is finished whatever is cancelled. So it only says that there is no
room; the waiting is done here, without a connection, and can be cancelled.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from xclaim import arguments, verbs
from xclaim.connections.runner import Runner
from xclaim.errors import InvalidArgumentError, QueueFullError
from xclaim.message import Message
from xclaim.verb import Verb

ROOM_WAIT = timedelta(minutes=1)  # for room, unless the push says for how long
_PAUSES = (0.25, 1.0)  # seconds between two looks, of which each may count the messages


def push(
    runner: Runner,
    queue: str,
    values: Sequence[Any],
    *,
    wait: timedelta | None,
    on_full: Any,
    **options: Any,
) -> list[Message | None]:
    """Push the payloads, or do what the call, else the queue's setting, asks for without room.

    In a transaction of the caller nothing waits, which would hold its locks, and nothing is left
    out unless the call itself asks for that: there a setting only makes the push raise.
    """
    _check(runner, on_full, wait)
    run = partial(_on_queue, runner, queue)
    options["on_full"] = on_full
    try:
        return list(run(verbs.PUSH_MANY, values, **options))
    except QueueFullError as error:
        full = error
        if error.on_full == "raise" or (on_full is None and not runner.engines):
            raise
    if full.on_full == "skip":
        return without_new(run, values, options)
    room = _Room(full, ROOM_WAIT if wait is None else wait, options.get("max_backlog"))
    while True:
        runner.concurrency.sleep(room.pause())
        if room.is_there(run):
            try:
                return list(run(verbs.PUSH_MANY, values, **options))
            except QueueFullError as error:  # others were quicker
                room.full = error


def without_new(
    run: Callable[..., Any], values: Sequence[Any], options: Mapping[str, Any]
) -> list[Message | None]:
    """Return the messages that are there under the keys of a push, and None in the others' places.

    ``run`` runs a verb on the queue that is full. A key that is taken by another payload is an
    error here, too.
    """
    keys: list[str | None] = list(options.get("unique_keys") or [None] * len(values))
    named = [key for key in keys if key is not None]
    there = {message.unique_key for message in run(verbs.FIND, named)} if named else set()
    places = [place for place, key in enumerate(keys) if key in there]
    messages: list[Message | None] = [None] * len(values)
    if places:
        lists = {
            name: [options[name][place] for place in places]
            for name in ("unique_keys", "ordering_keys")
            if options.get(name) is not None
        }
        found = run(verbs.PUSH_MANY, [values[place] for place in places], **{**options, **lists})
        for place, message in zip(places, found, strict=True):
            messages[place] = message
    return messages


def _on_queue(runner: Runner, queue: str, verb: Verb[Any], *given: Any, **options: Any) -> Any:
    return runner.run(verb, queue, *given, **options)


def _check(runner: Runner, on_full: Any, wait: timedelta | None) -> None:
    arguments.optional_seconds("wait", wait)
    if arguments.optional_on_full(on_full) == "wait" and not runner.engines:
        raise InvalidArgumentError(
            "on_full='wait' needs a queue bound to an engine: in a transaction of yours it would "
            "hold your locks while it waits; let it raise, and push again in another transaction"
        )
    if wait is not None and on_full not in (None, "wait"):
        raise InvalidArgumentError(
            f"wait is how long to wait for room, and on_full={on_full!r} does not: leave out one"
        )


class _Room:
    """The wait for room of one push."""

    def __init__(self, full: QueueFullError, wait: timedelta, max_backlog: int | None) -> None:
        self.full = full
        self._wait, self._ends_at = wait, time.monotonic() + wait.total_seconds()
        self._max_backlog = max_backlog

    def pause(self) -> float:
        """Return the seconds until the next look. Raise the QueueFullError if there is none."""
        full, left = self.full, self._ends_at - time.monotonic()
        if full.on_full != "wait" or full.count > full.max_backlog:
            raise full
        if left <= 0:
            full.add_note(f"xclaim: waited {self._wait} for room in queue {full.queue!r}")
            raise full
        return min(random.uniform(*_PAUSES), left)  # noqa: S311

    def is_there(self, run: Callable[..., Any]) -> bool:
        """Return whether there is room, for the limit that there is now."""
        there: bool = run(verbs.HAS_ROOM, self.full.count, max_backlog=self._max_backlog)
        return there
