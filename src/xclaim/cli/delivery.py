"""Print claims so that what nobody reads is known, and can be given back."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from xclaim.cli.outcomes import emit

_PATIENCE = 1.0  # seconds in all that a reader of a pipe has to take what is in it
_PAUSE = 0.001


class Delivery:
    """Lines that go to stdout one by one. ``taken`` is how many somebody took, as far as known.

    A pipe takes 64 kB that perhaps nobody reads. So where the system says how much of it was read,
    each line is waited for, a second in all: of ``xclaim claim orders --limit 9 | head -1`` one
    line is taken.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._ends_at = time.monotonic() + _PATIENCE

    def send(self, lines: Sequence[bytes]) -> None:
        """Write the lines. Raise OSError, or click's Exit, if somebody does not take them all."""
        if sys.stdout is None:
            raise OSError(errno.EBADF, "stdout is closed")
        for line in lines:
            emit(line)
            if not self._is_taken():
                emit(b"")  # fails as the next line would, and ends the command as that does
                return
            self.taken += 1

    def _is_taken(self) -> bool:
        """Return False only if the reader has gone and left something unread."""
        with suppress(OSError, ValueError, ImportError):
            descriptor = sys.stdout.fileno()
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                return self._is_read(descriptor)
        return True

    def _is_read(self, descriptor: int) -> bool:
        poll = select.poll()
        poll.register(descriptor, 0)  # tells of errors alone: that nobody reads any more
        while _unread(descriptor):
            if poll.poll(0):
                return not _unread(descriptor)  # it may have read the rest before it left
            if time.monotonic() >= self._ends_at:
                break
            time.sleep(_PAUSE)
        return True


def _unread(descriptor: int) -> int:
    """Return how many bytes of a pipe were not read yet."""
    import fcntl
    import termios

    answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
    return int.from_bytes(answer, sys.byteorder)
