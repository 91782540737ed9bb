"""One event for each verb that was run; whoever measures or traces listens here.

Without a listener an event costs nothing: it is not made.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from xclaim.connections.calls import is_in_a_call, outside_of_calls
from xclaim.verb import VerbEvent

Listener = Callable[[VerbEvent], object]

_listeners: tuple[Listener, ...] = ()
_lock = threading.Lock()
_logger = logging.getLogger("xclaim")


def add_listener(listener: Listener) -> None:
    """Call the listener after each verb of this process, in the thread or task that ran it.

    It must be quick and must not raise; what it raises is logged, and the verb is not changed.
    """
    global _listeners  # noqa: PLW0603  (replaced as a whole, so that reading needs no lock)
    with _lock:
        _listeners = (*_listeners, listener)


def remove_listener(listener: Listener) -> None:
    """Call it no more; one that is not there is no error."""
    global _listeners  # noqa: PLW0603
    with _lock:
        _listeners = tuple(each for each in _listeners if each != listener)


def is_listened_to() -> bool:
    """Return whether anybody wants to know."""
    return bool(_listeners)


def emit(event: VerbEvent) -> None:
    """Tell the listeners."""
    is_finished = is_in_a_call()
    with outside_of_calls():  # tasks that a listener starts are not a part of this one
        for listener in _listeners:
            try:
                listener(event)
            except BaseException as error:
                if not isinstance(error, Exception) and not is_finished:
                    raise  # an interrupt, which in a call that is finished waits for its end
                _logger.warning("a listener to verbs failed", exc_info=True)
