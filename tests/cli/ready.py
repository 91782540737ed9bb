"""Commands that begin at once: each is forked from a process that has imported what they need.

A command of its own Python spends a second of CPU on imports and some hundredths on its work. What
is forked is a process all the same, with a folder, variables, files and a status of its own.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).parents[2]
_STATUS_BYTES = 4
# What commands import when they need it, besides modules of the packages below.
_LATE = (
    "alembic.command",
    "alembic.ddl.postgresql",
    "alembic.ddl.sqlite",
    "cryptography.fernet",
    "psycopg",
    "rich.console",
    "rich.table",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "xclaim",
)
_PACKAGES = ("xclaim.cli", "xclaim.operations", "xclaim.observing")


class ReadyProcess:
    """Forks commands, one after the other."""

    def __init__(self) -> None:
        ours, its = socket.socketpair()
        with its:
            command = [sys.executable, "-m", "tests.cli.ready", str(its.fileno())]
            self._process = subprocess.Popen(
                command, cwd=_ROOT, pass_fds=[its.fileno()], start_new_session=True
            )
        self._socket = ours
        self._lock = threading.Lock()

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: bytes
    ) -> tuple[int, bytes, bytes]:
        """Run `xclaim`; return its status and what it wrote to stdout and stderr."""
        call = {"arguments": arguments, "folder": str(folder), "environment": environment}
        with (
            _file(json.dumps(call).encode()) as request,
            _file(stdin) as given,
            _file() as printed,
            _file() as complaints,
            self._lock,
        ):
            files = [each.fileno() for each in (request, given, printed, complaints)]
            try:
                socket.send_fds(self._socket, [b"!"], files)
                answer = self._socket.recv(_STATUS_BYTES, socket.MSG_WAITALL)
            except BaseException:  # the test's time is up: the next call must not get this answer
                ready_process.cache_clear()
                self.kill()
                raise
            status = int.from_bytes(answer, "big", signed=True)
            return status, _content(printed), _content(complaints)

    def kill(self) -> None:
        """End it, and the command that it runs."""
        self._socket.close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@cache
def ready_process() -> ReadyProcess:
    """Return the one of this test run."""
    process = ReadyProcess()
    atexit.register(process.kill)
    return process


def _file(content: bytes = b"") -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115  (whoever asks closes it)
    file.write(content)
    file.seek(0)
    return file


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _import_all() -> None:
    for name in _LATE:
        importlib.import_module(name)
    for name in _PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            with suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(module.name)
    gc.freeze()  # or the collector of each child would copy all of this


def _serve(calls: socket.socket) -> Sequence[str] | None:
    """Fork a child for each call. Return in the child, with its arguments; None at the end."""
    while True:
        message, files, *_ = socket.recv_fds(calls, 1, 4)
        if not message:
            return None
        child = os.fork()
        if child == 0:
            calls.close()
            return _become(files)
        for file in files:
            os.close(file)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        calls.sendall(status.to_bytes(_STATUS_BYTES, "big", signed=True))


def _become(files: Sequence[int]) -> Sequence[str]:
    """Take the place that the call describes; return its arguments."""
    request, *standard = files
    with os.fdopen(request, "rb") as file:
        call = json.load(file)
    for number, given in enumerate(standard):
        os.dup2(given, number)
        os.close(given)
    os.chdir(call["folder"])
    sys.path[0] = call["folder"]  # as for `python -m`
    os.environ.clear()
    os.environ.update(call["environment"])
    time.tzset()
    arguments: Sequence[str] = call["arguments"]
    return arguments


def _main() -> None:
    calls = socket.socket(fileno=int(sys.argv[1]))
    _import_all()
    arguments = _serve(calls)
    if arguments is not None:
        sys.argv = ["xclaim", *arguments]
        runpy.run_module("xclaim", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
