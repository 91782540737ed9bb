"""A child of a consumer, forked in the middle of its work, that goes on with the same queue."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NoReturn

from tests.torture.consumer import Consumer
from tests.torture.logs import Event, Log

_LIVES = (0.3, 4.0)  # seconds, not counted the turn in which they end
_KILLED_ONES = 0.5  # of the children; the others end by themselves
_HANGS_AFTER = 60  # seconds, whatever the faults

Consume = Callable[[Consumer, Callable[[], bool]], object]


class Children:
    """The children of one consumer process, one at a time.

    A child leaves by ``os._exit``, as those of multiprocessing do: what its parent was in the
    middle of is the parent's. One whose parent is killed lives on until its time is over.
    """

    def __init__(self, name: str, folder: Path, consume: Consume) -> None:
        self._name = name
        self._folder = folder
        self._consume = consume
        self._number = 0
        self._pid: int | None = None

    def fork(self, parent: Consumer) -> None:
        """Fork, unless the last child lives."""
        self.bury(parent.log)
        if self._pid is not None:
            return
        self._number += 1
        random = Random(f"{self._name} {self._number}")
        ends_at = time.monotonic() + random.uniform(*_LIVES)
        is_killed = random.random() < _KILLED_ONES
        parent.log.write(Event.FAULT, kind="consumer forked")
        with _lock(self._folder).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # until the child has closed it as well
            self._pid = os.fork()
            if self._pid == 0:
                self._live(parent, ends_at, is_killed=is_killed)

    def bury(self, log: Log, *, wait: bool = False) -> None:
        """Note how the child ended, if it has."""
        if self._pid is None:
            return
        pid, status = os.waitpid(self._pid, 0 if wait else os.WNOHANG)
        if pid == 0:
            return
        self._pid = None
        code = os.waitstatus_to_exitcode(status)
        if code not in {0, -signal.SIGKILL}:
            error = f"the forked child {self._number} of {self._name} ended with {code}"
            log.write(Event.UNEXPECTED, error=error)

    def _live(self, parent: Consumer, ends_at: float, *, is_killed: bool) -> NoReturn:
        code = 1
        try:
            faulthandler.dump_traceback_later(_HANGS_AFTER, exit=True)
            name = f"{self._name}-child{self._number}"
            child = parent.as_child(name, Log(self._folder / f"{name}.jsonl"))
            if is_killed:
                _kill_at(ends_at, child.log)
            self._consume(child, lambda: is_killed or time.monotonic() < ends_at)
            code = 0
        except BaseException:  # noqa: BLE001  (it must not unwind the parent's stack)
            traceback.print_exc()
        finally:
            os._exit(code)


def wait_for_orphans(folder: Path, seconds: float) -> bool:
    """Wait until no child lives that the consumers of this folder have forked."""
    deadline = time.monotonic() + seconds
    with _lock(folder).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
            else:
                return True


def _kill_at(moment: float, log: Log) -> None:
    def kill() -> None:
        log.write(Event.FAULT, kind="forked child killed")
        os.kill(os.getpid(), signal.SIGKILL)

    timer = threading.Timer(max(moment - time.monotonic(), 0), kill)
    timer.daemon = True
    timer.start()


def _lock(folder: Path) -> Path:
    return folder / "children.lock"
