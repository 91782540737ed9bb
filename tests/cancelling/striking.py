"""Signals that raise where they strike inside the library, and nowhere else.

What strikes in a test proves nothing, and could end the whole run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import xclaim

LIBRARY = str(Path(xclaim.__file__).parent)


def is_in_the_library(frame: FrameType | None) -> bool:
    """Return whether the frame is one of the library's, or was called by one."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(LIBRARY):
            return True
        frame = frame.f_back
    return False


@contextmanager
def ctrl_c_beside(strike: Callable[[Callable[[], None]], object]) -> Iterator[None]:
    """Run the function in a thread beside the block; what it is given presses Ctrl-C.

    It says when. Raise what the function raises.
    """

    def handle(_: int, frame: FrameType | None) -> None:
        if is_in_the_library(frame):
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        with ThreadPoolExecutor(1) as pool:
            striking = pool.submit(strike, lambda: os.kill(os.getpid(), signal.SIGINT))
            yield
            striking.result()
    finally:
        signal.signal(signal.SIGINT, before)
