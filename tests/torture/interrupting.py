"""Ctrl-C: a signal at a random moment, which the worker handles, to go on as if nothing were."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import xclaim
from tests.torture.consumer import Consumer

_LATEST = 0.15  # seconds: about as long as a turn takes
_TWICE = 0.25  # of the interrupts are followed by a second one
_LIBRARY = str(Path(xclaim.__file__).parent)
_TORTURE = str(Path(__file__).parent)
_WORK = {Consumer.work.__code__, Consumer.write_effect.__code__}


class Interrupts:
    """What interrupts the turns of a consumer in the main thread of its process."""

    def __init__(self, worker: Consumer) -> None:
        self._worker = worker
        self._is_striking = False
        signal.signal(signal.SIGINT, self._strike)

    @contextmanager
    def striking(self) -> Iterator[None]:
        """Interrupt the block at a random moment, or let it end before."""
        random = self._worker.random
        moments = [random.uniform(0, _LATEST)]
        if random.random() < _TWICE:
            moments.append(moments[0] + random.expovariate(100))
        timers = [threading.Timer(each, _press_ctrl_c) for each in moments]
        for timer in timers:
            timer.start()
        self._is_striking = True
        try:
            with suppress(KeyboardInterrupt):
                yield
        finally:
            self._is_striking = False
            for timer in timers:
                timer.cancel()

    def _strike(self, _number: int, frame: FrameType | None) -> None:
        if self._is_striking and _is_at_work(frame):
            self._worker.cut_short("consumer interrupted by Ctrl-C")
            raise KeyboardInterrupt


def _press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _is_at_work(frame: FrameType | None) -> bool:
    """Return whether the library is at work, or the consumer on a message.

    Between a claim that was returned and the log of it, an interrupt would lose what was claimed,
    and prove nothing: no library can help a caller who is interrupted before he has looked.
    """
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_LIBRARY):
            return True
        if code.co_filename.startswith(_TORTURE):
            return code in _WORK
        frame = frame.f_back
    return False
