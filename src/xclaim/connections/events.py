"""One event for each verb that was run; whoever measures or traces listens here.

Without a listener an event costs nothing: it is not made. What is rare has a topic of its own:
leases that ran out, and a database that is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from xclaim.connections.calls import is_in_a_call, outside_of_calls
from xclaim.verb import LapseEvent, ReturnEvent, VerbEvent

Event = TypeVar("Event")
Listener = Callable[[VerbEvent], object]
IsAwake = Callable[[], bool]

_lock = threading.Lock()
_logger = logging.getLogger("xclaim")


class Topic(Generic[Event]):
    """Events of one kind, and who listens to them, in the thread or task where they happen.

    A listener must be quick and must not raise; what it raises is logged, and nothing is changed
    for whoever caused the event.
    """

    def __init__(self) -> None:
        # Replaced as a whole, so that reading needs no lock.
        self._listeners: tuple[tuple[Callable[[Event], object], IsAwake | None], ...] = ()

    def add(self, listener: Callable[[Event], object], *, is_awake: IsAwake | None = None) -> None:
        """Call the listener from now on; while ``is_awake`` says no, no event is made for it."""
        with _lock:
            self._listeners = (*self._listeners, (listener, is_awake))

    def remove(self, listener: Callable[[Event], object]) -> None:
        """Call it no more; one that is not there is no error."""
        with _lock:
            self._listeners = tuple(each for each in self._listeners if each[0] != listener)

    def is_listened_to(self) -> bool:
        """Return whether anybody wants to know."""
        for _, is_awake in self._listeners:  # noqa: SIM110  (asked for each verb: any() is slower)
            if is_awake is None or is_awake():
                return True
        return False

    def emit(self, event: Event) -> None:
        """Tell the listeners."""
        is_finished = is_in_a_call()
        with outside_of_calls():  # tasks that a listener starts are not a part of this one
            for listener, is_awake in self._listeners:
                try:
                    if is_awake is None or is_awake():
                        listener(event)
                except BaseException as error:
                    if not isinstance(error, Exception) and not is_finished:
                        raise  # an interrupt, which in a call that is finished waits for its end
                    _logger.warning("a listener to verbs failed", exc_info=True)


VERBS: Topic[VerbEvent] = Topic()
LAPSES: Topic[LapseEvent] = Topic()
RETURNS: Topic[ReturnEvent] = Topic()


def add_listener(listener: Listener, *, is_awake: IsAwake | None = None) -> None:
    """Call the listener after each verb of this process, in the thread or task that ran it.

    It must be quick and must not raise; what it raises is logged, and the verb is not changed.
    ``is_awake`` is asked before each verb, and must not raise: while it says no there is no event.
    """
    VERBS.add(listener, is_awake=is_awake)


def remove_listener(listener: Listener) -> None:
    """Call it no more; one that is not there is no error."""
    VERBS.remove(listener)
